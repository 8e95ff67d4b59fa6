/* find.h - the run that a person means on the command line. */
#ifndef TARN_LAUNCH_REPORT_FIND_H
#define TARN_LAUNCH_REPORT_FIND_H

#include "track/reader.h"

#include <tarn/base.h>

/* store: a file store, or "" where names cannot be looked up. As tarn_run_find; and a directory of checkpoints means
 * the run that wrote them: its spool in DIR/spool, else the run of that id in the store. A directory of spools means
 * the one in it. named: somebody wrote the store down, so it is asked first, for the run of the directory, then for one
 * of that name. Failures are recorded in the context. */
tarn_status tarn_report_find(tarn_run_head *head, tarn_context *context, const char *store, bool named,
                             const char *text);

#endif

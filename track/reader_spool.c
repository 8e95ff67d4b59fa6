/* reader_spool.c - a run as its spool holds it. */
#include "track/reader_internal.h"

#include <stdio.h>

int tarn_run_spool_head(tarn_run_head *head, const char *folder)
{
    (void)head;
    (void)folder;
    return 0;
}

int tarn_run_spool_read(tarn_run_view *view, int most, char problem[TARN_SINK_PROBLEM])
{
    (void)most;
    snprintf(problem, TARN_SINK_PROBLEM, "%.300s is no spool", view->head.folder);
    return -1;
}

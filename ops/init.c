/* init.c - tarn_init: a context that knows the built-in ops. It stands here because ops is the first room that has
 * them. */
#include "ops/registry.h"
#include "runtime/base/context.h"

tarn_status tarn_init(tarn_context **context, int *argc, char ***argv)
{
    tarn_status status = tarn_context_open(context, argc, argv);
    return status ? status : tarn_ops_register_all(*context);
}

/* rows.h - the row of every built-in op: `tarn_op_<name>`, defined in ops/<name>/<name>.c. */
#ifndef TARN_OPS_ROWS_H
#define TARN_OPS_ROWS_H

#include <tarn/sys/op.h>

#define TARN_OP(name)      extern const tarn_op tarn_op_##name;
#define TARN_OP_FAST(name) extern const tarn_op tarn_op_##name;
#include "ops/ops.def"
#undef TARN_OP
#undef TARN_OP_FAST

#endif

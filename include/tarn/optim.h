/* optim.h - optimizers, clipping, schedules. They work on flat buffers: one pass, whatever the number of tensors. */
#ifndef TARN_OPTIM_H
#define TARN_OPTIM_H

#include <tarn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_optim_kind { TARN_ADAMW = 0, TARN_SGD } tarn_optim_kind;

typedef struct tarn_optim_options {
    tarn_optim_kind kind;
    double lr;           /* 0 = 1e-3 (AdamW), 1e-2 (SGD) */
    double momentum;     /* SGD; default 0 */
    bool nesterov;       /* SGD */
    double beta1, beta2; /* AdamW; 0 = 0.9, 0.999 */
    double epsilon;      /* AdamW; 0 = 1e-8 */
    double weight_decay; /* decoupled (Loshchilov and Hutter 2019) in AdamW; added to the gradient in SGD. 0 in both:
                            plain */
    double clip;         /* largest global norm of the mean gradient; 0 = no clipping */
} tarn_optim_options;

typedef enum tarn_schedule_kind { TARN_CONSTANT = 0, TARN_COSINE, TARN_LINEAR, TARN_STEP_DECAY } tarn_schedule_kind;

typedef struct tarn_schedule_options {
    tarn_schedule_kind kind;
    int64_t warmup;     /* steps of linear rise from lr/warmup to lr */
    double final_ratio; /* cosine, linear: lr at the last step / lr; default 0 */
    int64_t every;      /* step decay: every so many steps ... */
    double gamma;       /* ... lr is multiplied by gamma; 0 = 0.1 */
} tarn_schedule_options;

/* The learning rate of 0-based step `step` of `steps`. A pure function, portable bits. */
TARN_API double tarn_schedule_rate(const tarn_schedule_options *options, double lr, int64_t step, int64_t steps);

#ifdef __cplusplus
}
#endif
#endif

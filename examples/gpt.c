/* gpt.c - a character GPT on a text of one's own, with tarn_train: the whole program.
 *
 *   gpt TEXT [STEPS]                 alone, or: mpirun -n 4 gpt TEXT
 */
#include <stdlib.h>
#include <tarn/tarn.h>

static tarn_tensor *loss(tarn_step *step, const tarn_batch *batch, void *model)
{
    tarn_tensor *logits = tarn_forward(step, model, batch->inputs); /* (B, T, V) */
    return tarn_cross_entropy(logits, batch->targets);              /* a sum: the trainer divides once */
}

int main(int argc, char **argv)
{
    tarn_context *context;
    tarn_module *gpt = NULL;
    tarn_dataset *text = NULL;
    if (tarn_init(&context, &argc, &argv) != TARN_OK || argc < 2) {
        if (argc < 2) tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "usage: gpt TEXT [STEPS]");
        return tarn_exit(context);
    }
    tarn_gpt_create(&gpt, context, &(tarn_gpt_options){.layers = 2, .heads = 2, .width = 64, .context = 32});
    tarn_text_open(&text, context, argv[1], NULL);
    tarn_train(context, &(tarn_train_options){.model = gpt,
                                              .loss = loss,
                                              .data = text,
                                              .optim = {.kind = TARN_ADAMW, .lr = 1e-3, .clip = 1.0},
                                              .checkpoint_directory = "runs/gpt",
                                              .steps = argc > 2 ? atol(argv[2]) : 200});
    tarn_dataset_close(text);
    tarn_module_destroy(gpt);
    return tarn_exit(context); /* prints the first error of any rank, if there was one */
}

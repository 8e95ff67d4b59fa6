/* render.h - manifests for clusters: what the user asked for, and one function for each kind of manifest.
 *
 * A manifest is built as a tree of cJSON values, then written as JSON or, through libyaml's emitter, as YAML: quoting
 * is those libraries' business. The functions here trust their input: command_launch.c has checked it.
 *
 * Invariants
 *  1. A number of ranks that does not come up is noticed: every manifest has --expect-ranks, and variables for both
 *     Open MPI 4 (OMPI_MCA_orte_*) and 5 (PRTE_MCA_prte_*), which ignores the former without a word.
 *  2. Exit code 75 (stopped, to be resumed) leads to another start that counts as no failure where the cluster can
 *     tell; 2 (what the user wrote is wrong) ends the job.
 *  3. Checkpoints lie where they outlive the pod.
 */
#ifndef TARN_LAUNCH_RENDER_RENDER_H
#define TARN_LAUNCH_RENDER_RENDER_H

#include "runtime/config/config.h"

#include <cjson/cJSON.h>

/* Bits, so that options can say which kinds they mean something for. */
typedef enum tarn_render_kind {
    TARN_RENDER_SLURM = 1,
    TARN_RENDER_KUBERNETES = 2,
    TARN_RENDER_MPIJOB = 4,
    TARN_RENDER_VOLCANO = 8,
    TARN_RENDER_SAGEMAKER = 16
} tarn_render_kind;

/* key=value; a toleration has an effect, too; a volume is claim=path and "ro" or NULL. */
typedef struct tarn_render_pair {
    char *key, *value, *extra; /* value and extra may be NULL */
} tarn_render_pair;

typedef struct tarn_render_list {
    tarn_render_pair *pair;
    int count;
} tarn_render_list;

typedef struct tarn_render {
    tarn_render_kind kind;
    char name[53];            /* a DNS label */
    const char *command_line; /* that made the manifest */
    const char *run_file;     /* absolute */
    const char *out;          /* file the manifest is written to; NULL: stdout */
    const char *run_text;     /* what it says */
    const tarn_config *config;
    const char *const *override; /* key=value for tarn train */
    int overrides;
    int nodes, ranks, cpus, gpus; /* ranks: of all nodes; cpus: of a rank; gpus: of a node */
    int64_t memory;               /* bytes of a node; 0 = not stated */
    int64_t seconds;              /* time limit; 0 = none */
    int grace, restarts;
    bool spot;
    const char *image, *name_space, *queue, *partition, *account;
    const char *claim, *mount; /* persistent volume claim of the checkpoints, and where it is mounted */
    const char *role, *instance, *output, *checkpoints, *data;
    tarn_render_list environment, selector, tolerations, volumes;
} tarn_render;

/* Each sets *text (freed with free()). Fails when memory runs out. */
tarn_status tarn_render_slurm(tarn_context *context, const tarn_render *render, char **text);
tarn_status tarn_render_kubernetes(tarn_context *context, const tarn_render *render, char **text);
tarn_status tarn_render_mpijob(tarn_context *context, const tarn_render *render, char **text);
tarn_status tarn_render_volcano(tarn_context *context, const tarn_render *render, char **text);
tarn_status tarn_render_sagemaker(tarn_context *context, const tarn_render *render, char **text);

/* The documents of an array as YAML, with the command line as a comment at the top. */
tarn_status tarn_render_yaml(tarn_context *context, const tarn_render *render, const cJSON *documents, char **text);
/* A word for the shell, quoted where needed; freed with free(). */
char *tarn_render_shell_word(const char *word);

#endif

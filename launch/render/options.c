/* options.c - see options.h. One table says what each option takes, and for which kinds it means something. */
#include "launch/render/options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1000000, DEFAULT_GRACE = 120, DEFAULT_RESTARTS = 20, SAGEMAKER_SECONDS = 86400 };
enum { PODS = TARN_RENDER_KUBERNETES | TARN_RENDER_MPIJOB | TARN_RENDER_VOLCANO, CLOUD = PODS | TARN_RENDER_SAGEMAKER };
enum { EVERY = CLOUD | TARN_RENDER_SLURM };

typedef enum takes { TEXT, COUNT, BYTES, DURATION, FLAG, VARIABLE, LABEL, TOLERATION, VOLUME } takes;

static const struct option {
    const char *name;
    takes takes;
    int kinds;
    size_t offset; /* in tarn_render */
    int low;       /* of a COUNT */
    const char *help;
} known[] = {
#define AT(field) offsetof(tarn_render, field)
    {"--image", TEXT, CLOUD, AT(image), 0, "container image with tarn in it; required"},
    {"--nodes", COUNT, TARN_RENDER_SLURM | TARN_RENDER_MPIJOB | TARN_RENDER_VOLCANO, AT(nodes), 1,
     "nodes or workers [1]"},
    {"--ranks", COUNT, EVERY, AT(ranks), 1, "ranks of all nodes together [one a node, or one a GPU]"},
    {"--cpus", COUNT, EVERY & ~TARN_RENDER_SAGEMAKER, AT(cpus), 1, "cores of each rank [1]"},
    {"--memory", BYTES, EVERY & ~TARN_RENDER_SAGEMAKER, AT(memory), 0, "memory of each node: 900Mi, 16Gi, 64G"},
    {"--gpus", COUNT, EVERY & ~TARN_RENDER_SAGEMAKER, AT(gpus), 0, "NVIDIA GPUs of each node [0]"},
    {"--time", DURATION, EVERY & ~TARN_RENDER_VOLCANO, AT(seconds), 0, "time limit: 90m, 12h, 2d, 1:30:00, 2-12:00:00"},
    {"--grace", COUNT, EVERY, AT(grace), 1, "seconds for the last checkpoint after a notice [120]"},
    {"--restarts", COUNT, PODS, AT(restarts), 0, "failures after which the cluster gives up [20]"},
    {"--env", VARIABLE, EVERY, AT(environment), 0, "NAME=VALUE in the environment; may be repeated"},
    {"--pvc", TEXT, PODS, AT(claim), 0, "persistent volume claim for the checkpoints; required"},
    {"--mount", TEXT, PODS, AT(mount), 0, "where it is mounted [/checkpoints]"},
    {"--volume", VOLUME, PODS, AT(volumes), 0, "CLAIM:/PATH[:ro], another claim, such as the data's; may be repeated"},
    {"--node-selector", LABEL, PODS, AT(selector), 0, "KEY=VALUE of the nodes; may be repeated"},
    {"--toleration", TOLERATION, PODS, AT(tolerations), 0, "KEY[=VALUE][:EFFECT]; may be repeated"},
    {"--namespace", TEXT, PODS, AT(name_space), 0, "namespace"},
    {"--queue", TEXT, TARN_RENDER_VOLCANO, AT(queue), 0, "queue"},
    {"--partition", TEXT, TARN_RENDER_SLURM, AT(partition), 0, "partition"},
    {"--account", TEXT, TARN_RENDER_SLURM, AT(account), 0, "account"},
    {"--role", TEXT, TARN_RENDER_SAGEMAKER, AT(role), 0, "ARN of the role; required"},
    {"--instance", TEXT, TARN_RENDER_SAGEMAKER, AT(instance), 0, "instance type [ml.m5.xlarge]"},
    {"--output", TEXT, TARN_RENDER_SAGEMAKER, AT(output), 0, "s3:// prefix of the results; required"},
    {"--checkpoints", TEXT, TARN_RENDER_SAGEMAKER, AT(checkpoints), 0, "s3:// prefix of the checkpoints; required"},
    {"--data", TEXT, TARN_RENDER_SAGEMAKER, AT(data), 0, "s3:// prefix of the data: the channel `training`"},
    {"--spot", FLAG, TARN_RENDER_SAGEMAKER, AT(spot), 0, "managed spot training"},
#undef AT
};
enum { KNOWN = sizeof known / sizeof *known };

void tarn_render_print_options(FILE *out)
{
    static const char *const letters[] = {"slurm", "kubernetes", "mpijob", "volcano", "sagemaker"};
    fprintf(out, "  %-16s %s\n  %-16s %s\n", "-o FILE", "write there instead of to stdout", "--name NAME",
            "of the job [the run's name, or the file's]");
    for (int i = 0; i < KNOWN; i++) {
        fprintf(out, "  %-16s %s", known[i].name, known[i].help);
        for (int kind = 0, shown = 0; known[i].kinds != EVERY && kind < 5; kind++)
            if (known[i].kinds & 1 << kind) fprintf(out, "%s%s", shown++ ? " " : " (", letters[kind]);
        fprintf(out, "%s\n", known[i].kinds != EVERY ? ")" : "");
    }
}

/* ---- what options take ------------------------------------------------------------------------------------------- */

static tarn_status wrong(tarn_context *context, const char *option, const char *value, const char *expected)
{
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s %.200s: expected %s", option, value, expected);
}

static bool read_count(const char *text, int low, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || value < low || value > LARGEST) return false;
    *out = (int)value;
    return true;
}

/* 16Gi, 64G, 900Mi; at least 1 MiB. */
static bool read_bytes(const char *text, int64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    long value = strtol(text, &end, 10);
    if (!isdigit((unsigned char)*text) || value <= 0 || value > LARGEST || !*end) return false;
    const char *unit = strchr(units, *end);
    if (!unit || (end[1] && strcmp(end + 1, "i"))) return false;
    int64_t factor = 1;
    for (long i = 0; i <= unit - units; i++) factor *= end[1] ? 1024 : 1000;
    *out = value * factor;
    return *out >= 1 << 20;
}

/* 600s, 90m, 12h, 2d, H:MM:SS, D-HH:MM:SS. */
static bool read_duration(const char *text, int64_t *out)
{
    char *end;
    long days = 0, hours, minutes, seconds;
    int used = 0;
    long value = strtol(text, &end, 10);
    if (!isdigit((unsigned char)*text) || value > LARGEST) return false;
    if (*end && !end[1]) {
        *out = *end == 's'   ? value
               : *end == 'm' ? value * 60
               : *end == 'h' ? value * 3600
               : *end == 'd' ? value * 86400
                             : 0;
        return *out > 0;
    }
    if (*end == '-') {
        days = value;
        text = end + 1;
    }
    if (sscanf(text, "%5ld:%2ld:%2ld%n", &hours, &minutes, &seconds, &used) != 3 || text[used] || hours < 0 ||
        minutes < 0 || minutes > 59 || seconds < 0 || seconds > 59)
        return false;
    *out = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    return *out > 0;
}

static bool one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(text, *words)) return true;
    return false;
}

static bool is_variable(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_') return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && *name != '_') return false;
    return true;
}

/* Splits KEY=VALUE, KEY[=VALUE][:EFFECT], CLAIM:/PATH[:ro]. */
static bool read_pair(takes takes, const char *text, tarn_render_pair *pair)
{
    static const char *const effects[] = {"NoSchedule", "PreferNoSchedule", "NoExecute", NULL};
    pair->key = strdup(text);
    if (!pair->key) return false;
    if (takes == VOLUME) {
        char *path = strchr(pair->key, ':'), *mode = path ? strchr(path + 1, ':') : NULL;
        if (!path || path == pair->key || path[1] != '/') return false;
        *path = 0;
        if (mode) *mode = 0;
        pair->value = strdup(path + 1);
        if (mode && strcmp(mode + 1, "ro")) return false;
        if (mode) pair->extra = strdup("ro");
        return pair->value && (!mode || pair->extra);
    }
    char *effect = takes == TOLERATION ? strrchr(pair->key, ':') : NULL;
    if (effect) {
        *effect = 0;
        if (!one_of(effect + 1, effects) || !(pair->extra = strdup(effect + 1))) return false;
    }
    char *equals = strchr(pair->key, '=');
    if (equals) {
        *equals = 0;
        if (!(pair->value = strdup(equals + 1))) return false;
    }
    return *pair->key && (equals || takes == TOLERATION) && (takes != VARIABLE || is_variable(pair->key));
}

static tarn_status take_pair(tarn_context *context, tarn_render_list *list, const struct option *option,
                             const char *text)
{
    tarn_render_pair *grown = realloc(list->pair, ((size_t)list->count + 1) * sizeof *grown);
    if (!grown) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the options");
    list->pair = grown;
    grown[list->count] = (tarn_render_pair){0};
    if (read_pair(option->takes, text, &grown[list->count++])) return TARN_OK;
    return wrong(context, option->name, text,
                 option->takes == VOLUME ? "CLAIM:/PATH or CLAIM:/PATH:ro"
                 : option->takes == TOLERATION
                     ? "KEY[=VALUE][:EFFECT], effect NoSchedule, PreferNoSchedule or NoExecute"
                     : "NAME=VALUE");
}

static tarn_status take(tarn_context *context, tarn_render *render, const struct option *option, const char *value)
{
    char *field = (char *)render + option->offset;
    switch (option->takes) {
    case TEXT:
        if (!*value || strpbrk(value, " \t\n\r'\""))
            return wrong(context, option->name, value, "a word without blanks");
        memcpy(field, &value, sizeof value);
        return TARN_OK;
    case COUNT:
        if (read_count(value, option->low, (int *)(void *)field)) return TARN_OK;
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s %.200s: expected a number from %d to %d",
                         option->name, value, option->low, LARGEST);
    case BYTES:
        return read_bytes(value, (int64_t *)(void *)field)
                   ? TARN_OK
                   : wrong(context, option->name, value, "such as 900Mi, 16Gi or 64G");
    case DURATION:
        return read_duration(value, (int64_t *)(void *)field)
                   ? TARN_OK
                   : wrong(context, option->name, value, "such as 90m, 12h, 2d, 1:30:00 or 2-12:00:00");
    default:
        return take_pair(context, (tarn_render_list *)(void *)field, option, value);
    }
}

tarn_status tarn_render_parse(tarn_render_options *options, tarn_context *context, tarn_render_kind kind,
                              const char *kind_name, int argc, char **argv)
{
    *options = (tarn_render_options){.kind_name = kind_name, .override = calloc((size_t)argc + 1, sizeof(char *))};
    tarn_render *render = &options->render;
    *render = (tarn_render){.kind = kind,
                            .nodes = 1,
                            .cpus = 1,
                            .grace = DEFAULT_GRACE,
                            .restarts = DEFAULT_RESTARTS,
                            .mount = "/checkpoints",
                            .instance = "ml.m5.xlarge"};
    if (!options->override) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the options");
    render->override = options->override;
    tarn_status status = TARN_OK;
    for (int i = 0; i < argc && !status; i++) {
        const char *word = argv[i];
        const struct option *option = NULL;
        for (int k = 0; k < KNOWN && !option; k++)
            if (!strcmp(word, known[k].name)) option = &known[k];
        bool own = !strcmp(word, "-o") || !strcmp(word, "--name");
        if (option && !(option->kinds & (int)kind))
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s means nothing for %s: see tarn launch --help",
                             word, kind_name);
        if (option && option->takes == FLAG) {
            *(bool *)((char *)render + option->offset) = true;
            continue;
        }
        if ((option || own) && ++i >= argc)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s needs a value: see tarn launch --help", word);
        if (option)
            status = take(context, render, option, argv[i]);
        else if (own)
            *(word[1] == 'o' ? &options->out : &options->name) = argv[i];
        else if (*word == '-')
            status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                               "tarn launch render does not know the option %s: see tarn launch --help", word);
        else if (strchr(word, '='))
            options->override[render->overrides++] = word;
        else if (options->file)
            status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                               "two run files, %s and %s: give one, and changes as key=value", options->file, word);
        else
            options->file = word;
    }
    if (!status && !options->file)
        status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "which run? tarn launch render %s run.yaml ...",
                           kind_name);
    return status;
}

/* ---- what has to fit together ------------------------------------------------------------------------------------ */

/* A DNS label, as Kubernetes asks for: a-z, 0-9 and - inside. A name that was given has to be one; others are made one.
 */
static tarn_status set_name(tarn_render_options *options, tarn_context *context)
{
    char *name = options->render.name;
    const char *from = options->name ? options->name : tarn_config_string(options->render.config, "name");
    if (!from) from = strrchr(options->file, '/') ? strrchr(options->file, '/') + 1 : options->file;
    size_t used = 0, whole = options->name || tarn_config_string(options->render.config, "name") ? strlen(from)
                                                                                                 : strcspn(from, ".");
    for (size_t i = 0; i < whole && used + 1 < sizeof options->render.name; i++) {
        int letter = tolower((unsigned char)from[i]);
        if (isascii(letter) && isalnum(letter))
            name[used++] = (char)letter;
        else if (used && name[used - 1] != '-')
            name[used++] = '-';
    }
    while (used && name[used - 1] == '-') used--;
    name[used] = 0;
    if (options->name && strcmp(name, options->name))
        return wrong(context, "--name", options->name, "at most 52 of a-z, 0-9 and -, the first and last not -");
    if (!used || isdigit((unsigned char)*name))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "no name for the job can be made of \"%s\": give one with --name, beginning with a letter",
                         from);
    return TARN_OK;
}

static tarn_status require(tarn_context *context, const tarn_render_options *options, const char *option,
                           const char *value, const char *why)
{
    if (value) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s needs %s: %s", options->kind_name, option, why);
}

static tarn_status check_s3(tarn_context *context, const char *option, const char *value)
{
    if (!value || (!strncmp(value, "s3://", 5) && value[5])) return TARN_OK;
    return wrong(context, option, value, "s3://BUCKET/PREFIX");
}

tarn_status tarn_render_complete(tarn_render_options *options, tarn_context *context)
{
    tarn_render *render = &options->render;
    tarn_status status = set_name(options, context);
    if (!render->ranks) render->ranks = render->nodes * (render->gpus ? render->gpus : 1);
    if (!status && render->ranks % render->nodes)
        status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                           "--ranks %d do not spread evenly over --nodes %d: make it a multiple", render->ranks,
                           render->nodes);
    int64_t shards = tarn_config_integer(render->config, "train.shards");
    if (!status && render->ranks > shards)
        status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                           "--ranks %d, but the run has train.shards %lld: at most one rank a shard", render->ranks,
                           (long long)shards);
    if (!status && (int)render->kind & CLOUD)
        status = require(context, options, "--image", render->image, "the container image with tarn in it");
    if (!status && (int)render->kind & PODS)
        status = require(context, options, "--pvc", render->claim,
                         "the persistent volume claim that keeps the checkpoints when the pod is gone");
    if (!status && *render->mount != '/') status = wrong(context, "--mount", render->mount, "an absolute path");
    if (render->kind != TARN_RENDER_SAGEMAKER) return status;
    if (!render->seconds) render->seconds = SAGEMAKER_SECONDS;
    if (!status) status = require(context, options, "--role", render->role, "the ARN of the role SageMaker takes on");
    if (!status) status = require(context, options, "--output", render->output, "where results go, s3://...");
    if (!status)
        status = require(context, options, "--checkpoints", render->checkpoints,
                         "the s3:// prefix that keeps the checkpoints of /opt/ml/checkpoints");
    if (!status) status = check_s3(context, "--output", render->output);
    if (!status) status = check_s3(context, "--checkpoints", render->checkpoints);
    if (!status) status = check_s3(context, "--data", render->data);
    return status;
}

/* In a pod a relative path begins at the working directory of the image, where no claim is mounted. */
void tarn_render_warn(const tarn_render *render, tarn_context *context)
{
    static const char *const files[] = {"data.path",        "data.images",      "data.labels",
                                        "data.test_images", "data.test_labels", "model.init_from"};
    for (size_t i = 0; (int)render->kind & PODS && i < sizeof files / sizeof *files; i++) {
        const char *path = tarn_config_string(render->config, files[i]);
        if (!path || !*path || *path == '/') continue;
        tarn_log(context, TARN_LOG_WARN,
                 "%s: %s is relative and lies under no mount: a pod looks for it in the working directory of the "
                 "image. Mount a claim that holds it with --volume CLAIM:/PATH and set %s=/PATH/..., or give the "
                 "absolute path that it has in the image",
                 files[i], path, files[i]);
    }
}

static void free_list(tarn_render_list *list)
{
    for (int i = 0; i < list->count; i++) {
        free(list->pair[i].key);
        free(list->pair[i].value);
        free(list->pair[i].extra);
    }
    free(list->pair);
}

void tarn_render_options_free(tarn_render_options *options)
{
    free_list(&options->render.environment);
    free_list(&options->render.selector);
    free_list(&options->render.tolerations);
    free_list(&options->render.volumes);
    free(options->override);
    *options = (tarn_render_options){0};
}

/* resume.c - see resume.h.
 *
 * Invariants
 *  1. Rank 0 looks at the checkpoint, all learn. That the ranks have the same data is the trainer's to compare.
 *  2. Data are known by what they hold, not by where they lie: by the SHA-256 of all that was read of them (a text's
 *     bytes; images, then labels, unpacked and with their headers). How they are read (tokenizer, validation share) are
 *     keys of their own, which stay.
 *  3. Where a checkpoint does not say what its data held (of a validation set, those of earlier versions do not), they
 *     have to lie where they lay.
 */
#include "launch/resume.h"

#include "checkpoint/store.h"
#include "launch/schema.h"
#include "runtime/dist/control.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN = 19 }; /* of a digest in messages: "sha256:" and 12 digits */

/* The digest in the line "data: sha256:..." of a fingerprint; "" when there is none. Cuts the text after it. */
static const char *digest_in(char *fingerprint)
{
    static const char line[] = "\ndata: ";
    char *at = fingerprint ? strstr(fingerprint, line) : NULL;
    if (!at) return "";
    at += strlen(line);
    at[strcspn(at, "\n")] = '\0';
    return at;
}

/* The first of two keys (the second may be NULL) that names another file now; NULL when none does. */
static const char *moved_key(const tarn_config *now, const tarn_config *then, const char *const keys[2])
{
    for (int i = 0; i < 2 && keys[i]; i++) {
        const char *a = tarn_config_value_text(now, keys[i]), *b = tarn_config_value_text(then, keys[i]);
        if (a && b && strcmp(a, b)) return keys[i];
    }
    return NULL;
}

/* Do the files of these keys hold what they held then? */
static tarn_status check_contents(tarn_context *context, const tarn_config *config, const tarn_config *begun_with,
                                  const char *const keys[2], const tarn_dataset *data, const char *then)
{
    static const char remedy[] = "name the files it was begun with, wherever they lie, or begin anew with "
                                 "--from-scratch or another checkpoint.dir";
    const char *now = tarn_dataset_digest(data), *moved = moved_key(config, begun_with, keys);
    if (*then ? !strcmp(then, now) : !moved) return TARN_OK;
    const char *key = moved ? moved : keys[0], *path = tarn_config_string(config, key),
               *old_path = tarn_config_string(begun_with, key);
    if (!*then)
        return tarn_config_fail(context, config, key,
                                "is %s now, but the run in the checkpoint was begun with %s, and the checkpoint, of "
                                "an earlier version, does not say what that held: go on with that path until the next "
                                "checkpoint is saved, or begin anew with --from-scratch or another checkpoint.dir",
                                path, old_path);
    if (moved)
        return tarn_config_fail(context, config, key,
                                "is %s now, but the run in the checkpoint was begun with %s, and the contents differ "
                                "(%.*s now, %.*s then): %s",
                                path, old_path, SHOWN, now, SHOWN, then, remedy);
    return tarn_config_fail(context, config, key,
                            "%s does not hold what it held when the checkpoint was saved (%.*s now, %.*s then): %s",
                            path, SHOWN, now, SHOWN, then, remedy);
}

static tarn_status check_data(tarn_context *context, const tarn_run *run, const tarn_config *begun_with,
                              const char *directory)
{
    static const char *const text[2] = {"data.path"}, *const images[2] = {"data.images", "data.labels"},
                             *const test[2] = {"data.test_images", "data.test_labels"};
    char *fingerprint = NULL, *validation = NULL;
    tarn_status status = tarn_checkpoint_peek(context, directory, "text/fingerprint", &fingerprint);
    if (!status) status = tarn_checkpoint_peek(context, directory, "text/validation_digest", &validation);
    if (!status)
        status = check_contents(context, run->config, begun_with,
                                tarn_config_string(run->config, "data.path") ? text : images, run->data,
                                digest_in(fingerprint));
    if (!status && run->test)
        status = check_contents(context, run->config, begun_with, test, run->test, validation ? validation : "");
    free(fingerprint);
    free(validation);
    return status;
}

/* Rank 0's part. resumes: there is a checkpoint. */
static tarn_status compare(tarn_context *context, const tarn_run *run, const char *directory, bool *resumes)
{
    tarn_checkpoint_info *infos = NULL;
    int count = 0;
    tarn_status status = tarn_checkpoint_list(context, directory, false, &infos, &count);
    free(infos);
    *resumes = !status && count > 0;
    if (!*resumes) return status;
    char *text = NULL;
    tarn_config *begun_with = NULL;
    status = tarn_checkpoint_peek(context, directory, "text/config", &text);
    if (!status && text && *text)
        status = tarn_config_parse(&begun_with, context, tarn_run_schema, tarn_run_schema_count, text, directory);
    if (!status && begun_with) status = tarn_config_check_resume(context, run->config, begun_with);
    if (!status && begun_with) status = check_data(context, run, begun_with, directory);
    tarn_config_destroy(begun_with);
    free(text);
    return status;
}

tarn_status tarn_run_check_resume(tarn_context *context, tarn_run *run, bool from_scratch)
{
    const char *directory = run->options.checkpoint_directory;
    tarn_status status = TARN_OK;
    bool found = false;
    if (tarn_rank(context) == 0 && directory && !from_scratch && !access(directory, R_OK))
        status = compare(context, run, directory, &found);
    uint64_t resumes = found;
    status = tarn_agree(context, status, "comparing the configuration with the checkpoint");
    if (!status) status = tarn_comm_or_all(tarn_get_comm(context), &resumes, 1, "telling whether this is a resume");
    if (status) return status;
    if (resumes)
        run->options.init_from = NULL;
    else
        status = tarn_run_check_file(context, run->config, "model.init_from");
    return tarn_agree(context, status, "looking for the first weights");
}

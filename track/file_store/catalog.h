/* catalog.h - what a file store holds beside the points of runs: datasets, logged models, the model registry.
 *
 *   STORE/<experiment>/datasets/<md5>/meta.yaml             <run>/inputs/<md5>/meta.yaml
 *   STORE/<experiment>/models/m-<32 hex>/{meta.yaml,params/,artifacts/}   <run>/outputs/<model id>/meta.yaml
 *   STORE/models/<name>/{meta.yaml,version-<n>/meta.yaml,aliases/<alias>}
 *
 * Invariants
 *  1. Folders appear with everything in them, by rename: MLflow, which cannot list a folder without meta.yaml, can read
 *     the store at any moment.
 *  2. What is there stays: writing the same dataset, model or version again changes nothing, and a model that is a
 *     version of a name already becomes none a second time.
 *  3. Two processes that make a version of a name at the same moment get two numbers.
 *
 * Functions that write return 0, or -1 with a problem (what, where, the remedy) and errno: EILSEQ when what was asked
 * for is wrong by itself, so that trying again is of no use.
 */
#ifndef TARN_TRACK_FILE_STORE_CATALOG_H
#define TARN_TRACK_FILE_STORE_CATALOG_H

#include "track/files.h"
#include "track/sink.h"

/* A folder in the making: an empty one in `run`, the absolute path of a run's folder, which is on the store's disk. */
int tarn_new_folder_begin(tarn_path folder, const char *run);
/* Gives it its name, with the parents of that. 1: there is something of that name already, and the new folder is
 * gone. */
int tarn_new_folder_end(const tarn_path folder, const char *path);

/* A dataset as an input of the run (TARN_TRACK_INPUT). */
int tarn_file_store_input(const char *run, const tarn_track_event *event, char problem[TARN_SINK_PROBLEM]);
/* A logged model of the run (TARN_TRACK_MODEL), and the version and alias it asks for. */
int tarn_file_store_model(const char *run, const tarn_track_event *event, char problem[TARN_SINK_PROBLEM]);

/* What a version of a registered model is made of. */
typedef struct tarn_registry_entry {
    const char *name;     /* of the registered model, made when there is none */
    const char *model_id; /* m-... */
    const char *run_id;
    const char *location; /* absolute path of its files */
    int64_t time_ms;
} tarn_registry_entry;
/* Makes a version, with the next number; *version is its number, or that of the version which is this model already. */
int tarn_registry_add(const char *root, const char *run, const tarn_registry_entry *entry, int64_t *version,
                      char problem[TARN_SINK_PROBLEM]);
/* Lets an alias point at a version, wherever it pointed before. */
int tarn_registry_alias(const char *root, const char *name, const char *alias, int64_t version, int64_t time_ms,
                        char problem[TARN_SINK_PROBLEM]);
/* The version of `name` that is this model and (alias not NULL) is what the alias means; 0: none. */
int64_t tarn_registry_version(const char *root, const char *name, const char *model_id, const char *alias);
/* What is wrong with the name of a registered model, or an alias, by MLflow's rules, or NULL. */
const char *tarn_registry_name_problem(const char *name);
const char *tarn_registry_alias_problem(const char *alias);

#endif

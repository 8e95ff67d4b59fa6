/* test_launch.c - tarn launch render, and tarn train inside a SageMaker job.
 *
 * Every kind of manifest is compared with the schema of the system it is for (tests/python/check_manifest.py, with
 * TARN_TEST_PYTHON, a Python that has tests/python/requirements.txt); each with one wrong field must be refused, so
 * that a validator that accepts everything is noticed. Scripts for SLURM are submitted for real in test_slurm.
 */
#include "tests/run_support.h"

#include <criterion/criterion.h>

static char *folder;

static const char run_file[] = "name: My_Run\n"
                               "seed: 3\n"
                               "model: {kind: gpt, layers: 1, heads: 2, width: 32, context: 32}\n"
                               "data: {kind: text, path: text}\n"
                               "train: {batch: 8, shards: 8, steps: 5, threads: 1}\n"
                               "# a comment: \"quotes\", 'quotes', {braces}\n"
                               "optim: {lr: 0.003}\n";

static void make_folder(void)
{
    folder = tarn_test_directory();
    char *path = tarn_test_format("%s/run.yaml", folder), *text = tarn_test_format("%s/text", folder);
    cr_assert(tarn_test_write(path, run_file, strlen(run_file)) && tarn_test_write_text(text, 200));
    free(path);
    free(text);
}

static void remove_folder(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(launch, .init = make_folder, .fini = remove_folder, .timeout = 300);

static int run_tarn(const char *arguments, char **output)
{
    return tarn_test_tarn(folder, "", 0, arguments, output);
}

/* Renders with `arguments`; the text of the file is what is returned. */
static char *render(const char *arguments)
{
    char *line = tarn_test_format("launch render %s -o manifest", arguments), *output = NULL;
    char *path = tarn_test_format("%s/manifest", folder);
    int code = run_tarn(line, &output);
    cr_assert_eq(code, 0, "%s: exit %d: %s", arguments, code, output);
    char *text = tarn_test_read(path, NULL);
    cr_assert_not_null(text);
    free(line);
    free(output);
    free(path);
    return text;
}

static void expect(const char *text, const char *part)
{
    cr_expect_not_null(strstr(text, part), "\"%s\" is missing in:\n%s", part, text);
}

/* Compares folder/manifest with the schema; 0 it fits, 1 it does not. Skips the test without a Python. */
static int validate(const char *kind, char **output)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) {
        printf(
            "SKIP schema of %s: TARN_TEST_PYTHON names no Python with kubernetes-validate (scripts/test makes one)\n",
            kind);
        fflush(stdout);
        cr_skip_test("no Python");
    }
    char *line =
        tarn_test_format("cd %s && exec %s " TARN_SOURCE_DIR "/tests/python/check_manifest.py %s manifest run.yaml",
                         folder, python, kind);
    int code = tarn_test_run(line, 120, output);
    free(line);
    return code;
}

/* The manifest as it is fits; with the first `from` replaced by `to` it does not, and the answer names `blamed`. */
static void expect_schema_bites(const char *kind, const char *text, const char *from, const char *to,
                                const char *blamed)
{
    char *output = NULL;
    int code = validate(kind, &output);
    cr_assert_eq(code, 0, "%s", output);
    free(output);
    const char *at = strstr(text, from);
    cr_assert_not_null(at, "%s", from);
    char *broken = tarn_test_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    char *path = tarn_test_format("%s/manifest", folder);
    cr_assert(tarn_test_write(path, broken, strlen(broken)));
    code = validate(kind, &output);
    cr_expect_eq(code, 1, "%s -> %s was accepted (exit %d): %s", from, to, code, output);
    expect(output, blamed);
    free(output);
    free(path);
    free(broken);
}

/* The command of a manifest is one that tarn run understands: it gets as far as the run file, which is not there. */
Test(launch, the_command_of_a_pod_is_understood)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) {
        printf("SKIP the command of a pod: TARN_TEST_PYTHON names no Python with yaml\n");
        fflush(stdout);
        cr_skip_test("no Python");
    }
    char *text = render("kubernetes run.yaml --ranks 2 --image x --pvc y train.steps=9");
    char *line = tarn_test_format("cd %s && export PATH=" TARN_BINARY_DIR ":$PATH && exec %s -c 'import os, yaml; "
                                  "command = list(yaml.safe_load_all(open(\"manifest\")))[1][\"spec\"][\"template\"]"
                                  "[\"spec\"][\"containers\"][0][\"command\"]; os.execvp(command[0], command)'",
                                  folder, python);
    char *output = NULL;
    int code = tarn_test_run(line, 120, &output);
    cr_expect_eq(code, 2, "exit %d: %s", code, output);
    expect(output, "/etc/tarn/run.yaml: cannot read the run file");
    free(line);
    free(output);
    free(text);
}

#define POD_OPTIONS                                                                                                    \
    " --image registry:5000/tarn:1 --pvc checkpoints --gpus 2 --cpus 3 --memory 8Gi --grace 60 --restarts 7 --env "    \
    "'GREETING=say \"hi\": it'\\''s $5' --env ON=true --node-selector pool=true --toleration "                         \
    "nvidia.com/gpu:NoSchedule "                                                                                       \
    "--toleration spot=yes --volume data:/data:ro --namespace team train.steps=99"

Test(launch, a_job_of_kubernetes_fits_its_schema)
{
    char *text = render("kubernetes run.yaml --ranks 4 --time 12h" POD_OPTIONS);
    expect(text, "# made by: tarn launch render kubernetes run.yaml --ranks 4");
    expect(text, "name: my-run\n");
    expect(text, "nvidia.com/gpu: \"2\"");
    expect(text, "cpu: \"12\"");
    expect(text, "terminationGracePeriodSeconds: 70");
    expect(text, "activeDeadlineSeconds: 43200");
    expect(text, "claimName: checkpoints");
    expect(text, "\"checkpoint.dir=/checkpoints/my-run\"");
    expect(text, "\"track.store=/checkpoints/mlruns\"");
    expect(text, "pool: \"true\""); /* a string, not a truth value */
    expect(text, "- action: Ignore\n      onExitCodes:\n        containerName: train\n        operator: In\n        "
                 "values:\n        - 75");
    expect(text, "    # a comment: \"quotes\", 'quotes', {braces}\n");
    expect_schema_bites("kubernetes", text, "restartPolicy: Never", "restartPolice: Never", "restartPolice");
    free(text);
}

Test(launch, an_mpijob_fits_its_schema)
{
    char *text = render("mpijob run.yaml --nodes 2 --ranks 4" POD_OPTIONS);
    expect(text, "apiVersion: kubeflow.org/v2beta1");
    expect(text, "slotsPerWorker: 2");
    expect(text, "launcherCreationPolicy: WaitForWorkersReady");
    expect(text, "- -hostfile\n            - /etc/mpi/hostfile");
    expect(text, "- --expect-ranks\n            - \"4\"");
    expect(text, "OMPI_MCA_orte_default_hostfile");
    expect(text, "PRTE_MCA_prte_default_hostfile");
    expect_schema_bites("mpijob", text, "cleanPodPolicy: Running", "cleanPodPolicy: Sometimes", "cleanPodPolicy");
    free(text);
    text = render("mpijob run.yaml --nodes 2 --ranks 4" POD_OPTIONS);
    expect_schema_bites("mpijob", text, "volumeMounts:", "volumeMount:", "volumeMount");
    free(text);
}

Test(launch, a_job_of_volcano_fits_its_schema)
{
    char *text = render("volcano run.yaml --nodes 2 --ranks 4 --queue research" POD_OPTIONS);
    expect(text, "minAvailable: 3");
    expect(text, "ssh: []");
    expect(text, "svc: []");
    expect(text, "exitCode: 75\n      action: RestartJob");
    expect(text, "slots=2");
    expect_schema_bites("volcano", text, "action: CompleteJob", "action: FinishJob", "FinishJob");
    free(text);
}

#define SAGEMAKER                                                                                                      \
    "sagemaker run.yaml --image 1.dkr.ecr.eu-west-1.amazonaws.com/tarn:1 --role arn:aws:iam::123456789012:role/train " \
    "--output s3://bucket/out --checkpoints s3://bucket/checkpoints --data s3://bucket/data --spot --time 2h --env "   \
    "A=b optim.weight_decay=0.1"

Test(launch, a_request_of_sagemaker_fits_its_service_model)
{
    char *text = render(SAGEMAKER);
    expect(text, "tarn launch render sagemaker run.yaml");
    expect(text, "\"/opt/ml/checkpoints\"");
    expect(text, "\"data.path\":\t\"/opt/ml/input/data/training/text\"");
    expect(text, "\"optim.weight_decay\":\t\"0.1\"");
    expect(text, "\"MaxWaitTimeInSeconds\":\t14400");
    expect_schema_bites("sagemaker", text, "\"InstanceCount\":\t1", "\"InstanceCount\":\t\"one\"", "InstanceCount");
    free(text);
    text = render(SAGEMAKER);
    expect_schema_bites("sagemaker", text, "s3://bucket/out", "http//bucket/out", "S3OutputPath");
    free(text);
}

Test(launch, a_script_for_slurm_is_a_script)
{
    char *text = render("slurm run.yaml --nodes 2 --ranks 4 --cpus 2 --memory 4Gi --time 1-12:00:00 --partition gpu "
                        "--gpus 2 --account x --grace 300 --env \"A=it's\" name='two words'");
    expect(text, "#!/bin/bash\n# made by: tarn launch render slurm");
    expect(text, "#SBATCH --ntasks-per-node=2\n");
    expect(text, "#SBATCH --mem=4096M\n");
    expect(text, "#SBATCH --time=1-12:00:00\n");
    expect(text, "#SBATCH --signal=B:USR1@300\n");
    expect(text, "export A='it'\\''s'\n");
    expect(text, "/run.yaml 'name=two words' \"$@\"\n");
    expect(text, "\n#   sbatch [more options of sbatch] manifest [key=value ...] [options of tarn train]\n");
    cr_expect_null(strstr(text, "train.sbatch run.yaml [key=value ...] [options"), "%s", text);
    static const char *const once[] = {"#SBATCH --job-name=", "#SBATCH --signal=", "#   sbatch "};
    for (size_t i = 0; i < sizeof once / sizeof *once; i++) {
        const char *at = strstr(text, once[i]);
        cr_expect(at && !strstr(at + 1, once[i]), "%s is there not once: %s", once[i], text);
    }
    expect(text, "#SBATCH --requeue\n");
    /* sbatch reads its options up to the first command. */
    cr_expect(strstr(text, "#SBATCH --partition=gpu") < strstr(text, "\nexport "));
    char *line = tarn_test_format("cd %s && test -x manifest && exec bash -n manifest", folder), *output = NULL;
    cr_expect_eq(tarn_test_run(line, 30, &output), 0, "%s", output);
    free(line);
    free(output);
    free(text);
}

Test(launch, a_path_that_no_mount_covers_is_warned_of)
{
    static const char *const kinds[] = {"kubernetes", "mpijob", "volcano"};
    char *output;
    for (size_t i = 0; i < 3; i++) {
        char *line = tarn_test_format("launch render %s run.yaml --image x --pvc y -o manifest", kinds[i]);
        cr_expect_eq(run_tarn(line, &output), 0, "%s", output);
        expect(output, "warning: data.path: text is relative");
        expect(output, "--volume CLAIM:/PATH");
        free(output);
        free(line);
    }
    cr_expect_eq(run_tarn("launch render mpijob run.yaml --image x --pvc y --volume d:/d data.path=/d/text -o manifest",
                          &output),
                 0, "%s", output);
    cr_expect_str_eq(output, "");
    free(output);
    cr_expect_eq(run_tarn("launch render slurm run.yaml -o manifest", &output), 0, "%s", output);
    cr_expect_str_eq(output, "", "SLURM's nodes share the folder: %s", output);
    free(output);
}

Test(launch, what_is_wrong_is_told_before_anything_is_written)
{
    static const struct {
        const char *arguments, *message;
    } wrong[] = {
        {"", "usage: tarn launch render KIND"},
        {"render", "usage: tarn launch render KIND"},
        {"render nomad run.yaml", "there is no kind 'nomad'"},
        {"render slurm", "which run?"},
        {"render slurm nowhere.yaml", "nowhere.yaml"},
        {"render slurm run.yaml other.yaml", "two run files"},
        {"render slurm run.yaml train.stepz=4", "did you mean \"train.steps\"?"},
        {"render slurm run.yaml --nodes", "--nodes needs a value"},
        {"render slurm run.yaml --nodes 0", "--nodes 0: expected a number from 1"},
        {"render slurm run.yaml --nodes 2x", "--nodes 2x"},
        {"render slurm run.yaml --nodes 2 --ranks 3", "make it a multiple"},
        {"render slurm run.yaml --ranks 9", "train.shards 8"},
        {"render slurm run.yaml --memory 16", "--memory 16: expected such as"},
        {"render slurm run.yaml --time 90", "--time 90: expected such as"},
        {"render slurm run.yaml --time 1:99:00", "--time 1:99:00"},
        {"render slurm run.yaml --frobnicate 1", "does not know the option --frobnicate"},
        {"render slurm run.yaml --image x", "--image means nothing for slurm"},
        {"render slurm run.yaml --name Not_A_Label", "--name Not_A_Label"},
        {"render slurm run.yaml --env 5=6", "--env 5=6: expected NAME=VALUE"},
        {"render slurm run.yaml --partition 'a b'", "a word without blanks"},
        {"render slurm run.yaml -o /nowhere/at/all", "/nowhere/at/all"},
        {"render kubernetes run.yaml", "needs --image"},
        {"render kubernetes run.yaml --image x", "needs --pvc"},
        {"render kubernetes run.yaml --image x --pvc y --nodes 2", "--nodes means nothing for kubernetes"},
        {"render kubernetes run.yaml --image x --pvc y --mount relative", "--mount relative"},
        {"render mpijob run.yaml --image x --pvc y --toleration a:Never", "--toleration a:Never"},
        {"render volcano run.yaml --image x --pvc y --volume data", "--volume data: expected CLAIM:/PATH"},
        {"render sagemaker run.yaml --image x", "needs --role"},
        {"render sagemaker run.yaml --image x --role r --output o --checkpoints s3://b/c", "expected s3://"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *line = tarn_test_format("launch %s", wrong[i].arguments), *output = NULL;
        int code = run_tarn(line, &output);
        cr_expect_eq(code, 2, "launch %s: exit %d", wrong[i].arguments, code);
        expect(output, wrong[i].message);
        free(line);
        free(output);
    }
}

/* ---- tarn train inside a SageMaker job --------------------------------------------------------------------------- */

static void hyper_parameters(const char *json)
{
    char *line = tarn_test_format("mkdir -p %s/ml/input/config %s/ml/output", folder, folder);
    char *path = tarn_test_format("%s/ml/input/config/hyperparameters.json", folder);
    cr_assert_eq(tarn_test_run(line, 30, NULL), 0);
    cr_assert(tarn_test_write(path, json, strlen(json)));
    free(line);
    free(path);
}

static int train_there(const char *environment, const char *arguments, char **output)
{
    char *all = tarn_test_format("TARN_SAGEMAKER_ROOT=%s/ml %s", folder, environment);
    int code = tarn_test_tarn(folder, all, 0, arguments, output);
    free(all);
    return code;
}

Test(launch, hyper_parameters_of_sagemaker_make_the_run)
{
    /* Dashes for dots, values encoded twice, names of SageMaker's own. */
    hyper_parameters(
        "{\"model-kind\": \"\\\"gpt\\\"\", \"model.layers\": \"1\", \"model.heads\": \"2\", "
        "\"model-width\": \"32\", \"model.context\": \"32\", \"data.kind\": \"text\", \"data.path\": \"text\", "
        "\"train.batch\": \"8\", \"train.steps\": \"3\", \"optim-lr\": \"0.003\", \"seed\": \"3\", "
        "\"sagemaker_program\": \"train.py\"}");
    char *output = NULL;
    int code = train_there("", "train --sagemaker train.steps=5", &output); /* the command line wins */
    cr_assert_eq(code, 0, "%s", output);
    expect(output, "step 5/5");
    free(output);
    /* The same run without SageMaker, from the run file. */
    code = run_tarn("train run.yaml checkpoint.dir=here track.store=null", &output);
    cr_assert_eq(code, 0, "%s", output);
    free(output);
    char *mine = tarn_test_digest(folder, "ml/checkpoints"), *reference = tarn_test_digest(folder, "here");
    cr_expect(*mine);
    cr_expect_str_eq(mine, reference);
    free(mine);
    free(reference);
    /* The record lies with the checkpoints. */
    char *store = tarn_test_format("%s/ml/checkpoints/mlruns", folder);
    cr_expect_eq(access(store, F_OK), 0);
    free(store);
}

Test(launch, a_training_job_is_noticed_without_the_option)
{
    hyper_parameters("{\"train.steps\": \"2\"}");
    char *output = NULL;
    int code = train_there("TRAINING_JOB_NAME=job", "train run.yaml", &output);
    cr_assert_eq(code, 0, "%s", output);
    expect(output, "step 2/2");
    free(output);
}

Test(launch, failures_are_told_where_sagemaker_looks)
{
    static const struct {
        const char *json, *message;
    } wrong[] = {
        {"{\"train-stepz\": \"2\"}", "did you mean \"train.steps\"?"},
        {"{\"train.steps\": 2}", "is no string"},
        {"[1, 2", "expected a JSON object"},
    };
    char *path = tarn_test_format("%s/ml/output/failure", folder);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        hyper_parameters(wrong[i].json);
        char *output = NULL;
        int code = train_there("", "train run.yaml --sagemaker", &output);
        cr_expect_eq(code, 2, "%s: exit %d", wrong[i].json, code);
        expect(output, wrong[i].message);
        char *failure = tarn_test_read(path, NULL);
        cr_assert_not_null(failure);
        expect(failure, wrong[i].message);
        free(failure);
        free(output);
    }
    free(path);
}

Test(launch, a_request_rendered_for_sagemaker_is_a_run_there)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) python = "/usr/bin/python3";
    char *text = render("sagemaker run.yaml --image x --role r --output s3://b/o --checkpoints s3://b/c train.steps=4");
    free(text);
    hyper_parameters("{}");
    char *line = tarn_test_format("cd %s && exec %s -c 'import json; json.dump(json.load(open(\"manifest\"))"
                                  "[\"HyperParameters\"], open(\"ml/input/config/hyperparameters.json\", \"w\"))'",
                                  folder, python);
    char *output = NULL;
    cr_assert_eq(tarn_test_run(line, 60, &output), 0, "%s", output);
    free(line);
    free(output);
    int code = train_there("", "train --sagemaker", &output);
    cr_assert_eq(code, 0, "%s", output);
    expect(output, "step 4/4");
    free(output);
}

/* subject.c - see subject.h. */
#include "tests/faults/subject.h"
#include "checkpoint/quarantine.h"
#include "tests/faults/fault_io.h"
#include "tests/support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define STATE_ENTRIES 5

_Static_assert(sizeof(fault_state) == 2 * 4400 + 16 + 777 + 6007, "states are compared as bytes: no padding");

typedef struct subject {
    const fault_options *options;
    tarn_context *context;
    tarn_checkpoint_store *store;
    char path[4096], temporary[4096]; /* of the controls */
    fault_state state;
    tarn_checkpoint_entry entries[STATE_ENTRIES];
} subject;

/* ---- the training ------------------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t z)
{
    z ^= z << 13;
    z ^= z >> 7;
    return z ^ z << 17;
}

static void advance(fault_state *state)
{
    uint64_t z = 88172645463325252ull + (uint64_t)state->life;
    const uint8_t *bytes = (const uint8_t *)state;
    for (size_t i = 0; i < offsetof(fault_state, config); i++) z = mix(z + bytes[i]);
    uint8_t *outputs[] = {(uint8_t *)state->weight, (uint8_t *)state->moment, state->bytes};
    size_t sizes[] = {sizeof state->weight, sizeof state->moment, sizeof state->bytes};
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < sizes[k]; i++) {
            z = mix(z + outputs[k][i]);
            outputs[k][i] = (uint8_t)(z >> 40);
        }
    /* A block of zeros in each: places where damage may change nothing. */
    memset(state->weight + 200, 0, 1024);
    state->step++;
    memset(state->config, 0, sizeof state->config);
    int length = snprintf(state->config, sizeof state->config, "life: %" PRId64 "\nstep: %" PRId64 "\n", state->life,
                          state->step);
    size_t wanted = state->step >= 3 ? 5000 : 300;
    for (size_t i = (size_t)length; i < wanted; i++)
        state->config[i] = (char)('a' + (i * 7 + (size_t)state->step) % 26);
}

static void begin_life(fault_state *state, int64_t life)
{
    memset(state, 0, sizeof *state);
    state->life = life;
}

const fault_state *fault_golden(int64_t life, int64_t step)
{
    static fault_state golden[FAULT_LIVES + 1][FAULT_LAST_STEP + 2];
    static bool ready;
    if (!ready)
        for (int64_t l = 1; l <= FAULT_LIVES; l++) {
            begin_life(&golden[l][0], l);
            for (int64_t s = 1; s <= FAULT_LAST_STEP; s++) {
                golden[l][s] = golden[l][s - 1];
                advance(&golden[l][s]);
            }
        }
    ready = true;
    if (life < 1 || life > FAULT_LIVES || step < 0 || step > FAULT_LAST_STEP) return NULL;
    return &golden[life][step];
}

static bool is_golden(const fault_state *state)
{
    const fault_state *golden = fault_golden(state->life, state->step);
    return golden && !memcmp(golden, state, sizeof *state);
}

static bool is_best_step(int64_t step)
{
    return step == 2 || step == 4;
}

static void describe(subject *self)
{
    fault_state *s = &self->state;
    const tarn_checkpoint_entry entries[STATE_ENTRIES] = {
        {.name = "model/weight",
         .dtype = TARN_F32,
         .ndim = 2,
         .shape = {11, 100},
         .data = s->weight,
         .in_digest = true},
        {.name = "optim/m/weight",
         .dtype = TARN_F32,
         .ndim = 2,
         .shape = {11, 100},
         .data = s->moment,
         .in_digest = true},
        {.name = "state/step", .dtype = TARN_I64, .data = &s->step, .in_digest = true},
        {.name = "state/life", .dtype = TARN_I64, .data = &s->life, .in_digest = true},
        {.name = "state/bytes", .dtype = TARN_BOOL, .ndim = 1, .shape = {777}, .data = s->bytes},
    };
    memcpy(self->entries, entries, sizeof entries);
}

void fault_golden_digest(int64_t life, int64_t step, char out[65])
{
    subject *self = calloc(1, sizeof *self);
    out[0] = '\0';
    if (!self || !fault_golden(life, step)) return;
    self->state = *fault_golden(life, step);
    describe(self);
    tarn_checkpoint_digest(self->entries, STATE_ENTRIES, out);
    free(self);
}

/* ---- the controls ------------------------------------------------------------------------------------------------ */

static bool write_state(int file, const fault_state *state)
{
    /* Written as careless code does: piece by piece, no look at what was there before. */
    const char *bytes = (const char *)state;
    for (size_t done = 0; done < sizeof *state;) {
        size_t part = sizeof *state - done < 3000 ? sizeof *state - done : 3000;
        ssize_t got = pwrite(file, bytes + done, part, (off_t)done);
        if (got < 0) return false;
        done += (size_t)got;
    }
    return true;
}

static bool careless_save(subject *self)
{
    bool in_place = self->options->kind == SUBJECT_IN_PLACE;
    int file = open(in_place ? self->path : self->temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return false;
    bool done = write_state(file, &self->state) && (in_place || !rename(self->temporary, self->path)) && !fsync(file);
    return !close(file) && done;
}

static int careless_load(subject *self)
{
    int file = open(self->path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno == ENOENT ? 0 : -1;
    ssize_t got = read(file, &self->state, sizeof self->state);
    close(file);
    if (self->options->kind == SUBJECT_RENAME_FIRST && got != (ssize_t)sizeof self->state) return -1;
    return 1;
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

static void drop_log(void *user, tarn_log_level level, const char *line)
{
    (void)user, (void)level, (void)line;
}

/* Before the context ends: tarn_exit would print the error. */
static void close_subject(subject *self)
{
    tarn_checkpoint_store_close(self->store);
    if (self->context) {
        tarn_error_clear(self->context);
        tarn_exit(self->context);
    }
    free(self);
}

static subject *open_subject(const fault_options *options, const char *directory, char message[200])
{
    subject *self = calloc(1, sizeof *self);
    if (!self) return NULL;
    self->options = options;
    describe(self);
    snprintf(self->path, sizeof self->path, "%s/state.bin", directory);
    snprintf(self->temporary, sizeof self->temporary, "%s/.tmp-state.bin", directory);
    bool done = !tarn_init(&self->context, NULL, NULL);
    tarn_set_log(self->context, drop_log, NULL);
    if (options->kind != SUBJECT_STORE) {
        if (mkdir(directory, 0755) && errno != EEXIST) done = false;
        unlink(self->temporary);
    } else {
        done = done && !tarn_checkpoint_store_open(&self->store, self->context, directory, 2);
        if (done) tarn_checkpoint_store_set_parts(self->store, options->parts);
    }
    if (done) return self;
    const tarn_error *error = tarn_get_error(self->context);
    if (message) snprintf(message, 200, "%s", error ? error->message : strerror(errno));
    close_subject(self);
    return NULL;
}

/* The one place that knows how a state is saved. In the background: only begun; finish_save tells how it ended. */
static bool begin_save(subject *self)
{
    if (self->options->kind != SUBJECT_STORE) return careless_save(self);
    const tarn_checkpoint_text texts[] = {{"text/config", self->state.config}};
    const tarn_checkpoint_request request = {.step = self->state.step,
                                             .entries = self->entries,
                                             .entry_count = STATE_ENTRIES,
                                             .texts = texts,
                                             .text_count = 1,
                                             .is_best = is_best_step(self->state.step),
                                             .must = true};
    return !tarn_checkpoint_begin(self->store, &request, NULL);
}

static bool finish_save(subject *self, bool begun, fault_progress *progress)
{
    if (self->options->kind != SUBJECT_STORE || (begun && !tarn_checkpoint_wait(self->store))) return begun;
    const tarn_error *error = tarn_get_error(self->context);
    if (!progress->message[0])
        snprintf(progress->message, sizeof progress->message, "%s", error ? error->message : "no message");
    tarn_error_clear(self->context);
    return false;
}

/* 1 loaded, 0 nothing there, -1 refused. */
static int load(subject *self, char message[200])
{
    memset(&self->state, 0xa5, sizeof self->state);
    if (self->options->kind != SUBJECT_STORE) return careless_load(self);
    int64_t step = 0;
    bool found = false;
    tarn_status status = tarn_checkpoint_load(self->store, self->entries, STATE_ENTRIES, &step, &found);
    if (status) {
        const tarn_error *error = tarn_get_error(self->context);
        snprintf(message, 200, "%s", error ? error->message : "no message");
        tarn_error_clear(self->context);
        return -1;
    }
    if (!found) return 0;
    const char *text = tarn_checkpoint_text_get(self->store, "text/config");
    memset(self->state.config, 0, sizeof self->state.config);
    snprintf(self->state.config, sizeof self->state.config, "%s", text ? text : "none");
    if (step != self->state.step) self->state.config[0] = '?';
    return 1;
}

static void acknowledge(const subject *self, int64_t step, fault_progress *progress)
{
    char note[64];
    int64_t life = self->state.life;
    bool best = is_best_step(step) && self->options->kind == SUBJECT_STORE;
    snprintf(note, sizeof note, "acknowledged %" PRId64 " %" PRId64 " %d", life, step, best);
    progress->life = life;
    progress->step = step;
    if (best) {
        progress->best_life = life;
        progress->best_step = step;
    }
    tarn_fault_note(note);
    if (self->options->loud && tarn_rank(self->context) == 0) {
        printf("acknowledged %" PRId64 "\n", step);
        fflush(stdout);
    }
}

static void settle(subject *self, int64_t step, bool begun, fault_progress *progress)
{
    if (finish_save(self, begun, progress))
        acknowledge(self, step, progress);
    else
        progress->failed++;
}

static void train_on(subject *self, int64_t last, fault_progress *progress)
{
    bool begun = false, open = false;
    while (self->state.step < last) {
        advance(&self->state);
        /* In the background the state has gone on before the save of the last step is looked at. */
        if (open) settle(self, self->state.step - 1, begun, progress);
        begun = begin_save(self);
        open = self->options->in_background;
        if (!open) settle(self, self->state.step, begun, progress);
    }
    if (open) settle(self, self->state.step, begun, progress);
}

/* As a supervisor does with a checkpoint that a run keeps failing from. */
static int quarantine(const char *directory, fault_progress *progress)
{
    tarn_problem problem;
    if (tarn_checkpoint_quarantine(directory, FAULT_LAST_STEP, &problem)) {
        progress->life = 1;
        progress->step = FAULT_LAST_STEP - 1;
        tarn_fault_note("acknowledged 1 4 0");
    } else {
        snprintf(progress->message, sizeof progress->message, "%.250s", problem.text);
        progress->failed++;
    }
    progress->finished = true;
    return 0;
}

int fault_train(const fault_options *options, const char *directory, fault_progress *progress)
{
    if (options->scenario == SCENARIO_QUARANTINE) return quarantine(directory, progress);
    subject *self = open_subject(options, directory, NULL);
    if (!self) return 1;
    begin_life(&self->state, options->scenario == SCENARIO_BACK ? 2 : 1);
    train_on(self, options->scenario == SCENARIO_BACK ? 3 : FAULT_LAST_STEP, progress);
    progress->finished = true;
    close_subject(self);
    return 0;
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

static int count_temporaries(const char *directory)
{
    int count = 0;
    DIR *folder = opendir(directory);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        count += strstr(entry->d_name, "tmp") != NULL;
        if (entry->d_name[0] == '.' || entry->d_type != DT_DIR) continue;
        char *inner = tarn_test_format("%s/%s", directory, entry->d_name);
        count += count_temporaries(inner);
        free(inner);
    }
    if (folder) closedir(folder);
    return count;
}

static void judge_best(subject *self, const char *directory, fault_verdict *verdict)
{
    char *path = tarn_test_format("%s/best.h5", directory), *text = NULL;
    if (access(path, F_OK)) path[strlen(path) - 3] = '\0'; /* a folder of parts */
    if (!access(path, F_OK)) {
        long long life = 0, step = 0;
        if (tarn_checkpoint_peek(self->context, path, "text/config", &text) || !text ||
            sscanf(text, "life: %lld\nstep: %lld\n", &life, &step) != 2 || !is_best_step(step) ||
            !fault_golden(life, step) || strcmp(fault_golden(life, step)->config, text)) {
            verdict->best_broken = true;
            const tarn_error *error = tarn_get_error(self->context);
            snprintf(verdict->message, sizeof verdict->message, "best: %s", error ? error->message : "another text");
            tarn_error_clear(self->context);
        }
        verdict->best_life = life;
        verdict->best_step = step;
    }
    free(text);
    free(path);
}

void fault_judge(const fault_options *options, const char *directory, bool go_on, fault_verdict *verdict)
{
    subject *self = open_subject(options, directory, verdict->message);
    if (!self) {
        verdict->refused = verdict->done = true;
        return;
    }
    verdict->leftovers = count_temporaries(directory);
    int loaded = load(self, verdict->message);
    verdict->found = loaded > 0;
    verdict->refused = loaded < 0;
    if (loaded > 0) {
        verdict->life = self->state.life;
        verdict->step = self->state.step;
        verdict->wrong = !is_golden(&self->state);
    }
    if (options->kind == SUBJECT_STORE) judge_best(self, directory, verdict);
    if (go_on && loaded >= 0 && !verdict->wrong) {
        fault_progress progress = {0};
        if (!loaded) begin_life(&self->state, options->scenario == SCENARIO_BACK ? 2 : 1);
        fault_state expected = *fault_golden(self->state.life, FAULT_LAST_STEP);
        train_on(self, FAULT_LAST_STEP, &progress);
        bool same =
            !progress.failed && load(self, verdict->message) == 1 && !memcmp(&self->state, &expected, sizeof expected);
        verdict->wrong_end = !same;
        if (progress.failed) snprintf(verdict->message, sizeof verdict->message, "%.199s", progress.message);
        verdict->leftovers += count_temporaries(directory);
    }
    verdict->done = true;
    close_subject(self);
}

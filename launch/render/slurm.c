/* slurm.c - the shipped train.sbatch with the options and the arguments of one run put in.
 *
 * The script is part of the program (assembled in below), so that rendering needs no file of the installation. Options
 * of the command line of sbatch still win over the #SBATCH lines, and arguments after the script over the run's.
 */
#include "launch/render/render.h"
#include "runtime/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__asm__(".pushsection .rodata\n"
        ".global tarn_train_sbatch\n"
        "tarn_train_sbatch:\n"
        ".incbin \"" TARN_TRAIN_SBATCH "\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char tarn_train_sbatch[];

static void write_options(FILE *out, const tarn_render *render)
{
    fprintf(out,
            "#SBATCH --job-name=%s\n#SBATCH --nodes=%d\n#SBATCH --ntasks-per-node=%d\n#SBATCH --cpus-per-task=%d\n",
            render->name, render->nodes, render->ranks / render->nodes, render->cpus);
    if (render->memory) fprintf(out, "#SBATCH --mem=%lldM\n", (long long)(render->memory >> 20));
    if (render->gpus) fprintf(out, "#SBATCH --gpus-per-node=%d\n", render->gpus);
    if (render->seconds) {
        long long s = render->seconds;
        fprintf(out, "#SBATCH --time=%lld-%02lld:%02lld:%02lld\n", s / 86400, s / 3600 % 24, s / 60 % 60, s % 60);
    }
    if (render->partition) fprintf(out, "#SBATCH --partition=%s\n", render->partition);
    if (render->account) fprintf(out, "#SBATCH --account=%s\n", render->account);
    fprintf(out, "#SBATCH --signal=B:USR1@%d\n", render->grace);
}

static bool write_word(FILE *out, const char *before, const char *word, const char *after)
{
    char *quoted = tarn_render_shell_word(word);
    if (!quoted) return false;
    fprintf(out, "%s%s%s", before, quoted, after);
    free(quoted);
    return true;
}

/* A line of the head as it stands, but for two options, which write_options gives, and how to submit the script. */
static bool write_head_line(FILE *out, const tarn_render *render, const char *line)
{
    if (tarn_text_begins(line, "#SBATCH --job-name=") || tarn_text_begins(line, "#SBATCH --signal=")) return true;
    if (tarn_text_begins(line, "#   sbatch ")) {
        /* A name of several lines would end the comment. */
        const char *name = render->out && !strpbrk(render->out, "\n\r") ? render->out : "THIS_FILE";
        fprintf(out, "# Submit this very file, which holds its run and the options of sbatch:\n");
        return write_word(out, "#   sbatch [more options of sbatch] ", name,
                          " [key=value ...] [options of tarn train]\n");
    }
    fprintf(out, "%.*s\n", (int)strcspn(line, "\n"), line);
    return true;
}

tarn_status tarn_render_slurm(tarn_context *context, const tarn_render *render, char **text)
{
    size_t length = 0;
    *text = NULL;
    FILE *out = open_memstream(text, &length);
    /* After the first line what made the file; after the last #SBATCH line the options and the run. */
    const char *first = strchr(tarn_train_sbatch, '\n') + 1, *last = first;
    for (const char *at = first; (at = strstr(at, "\n#SBATCH "));) last = at = strchr(at + 1, '\n');
    bool whole = out != NULL;
    if (whole) {
        fprintf(out, "%.*s# made by: %s\n", (int)(first - tarn_train_sbatch), tarn_train_sbatch, render->command_line);
        for (const char *line = first; line <= last; line = strchr(line, '\n') + 1)
            whole &= write_head_line(out, render, line);
        write_options(out, render);
        for (int i = 0; i < render->environment.count; i++) {
            fprintf(out, "export %s=", render->environment.pair[i].key);
            whole &= write_word(out, "", render->environment.pair[i].value, "\n");
        }
        whole &= write_word(out, "set -- ", render->run_file, "");
        for (int i = 0; i < render->overrides; i++) whole &= write_word(out, " ", render->override[i], "");
        fprintf(out, " \"$@\"\n%s", last + 1);
    }
    if (out && fclose(out)) whole = false;
    if (whole) return TARN_OK;
    free(*text);
    *text = NULL;
    return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while writing the script");
}

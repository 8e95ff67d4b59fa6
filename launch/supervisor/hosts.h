/* hosts.h - the hosts a run may use: a host file or a list in mpirun's syntax, which of them answer, who is kept out.
 *
 * Host file: "NAME [slots=N] [max_slots=N]" a line, # begins a comment; list: NAME[:N],... A host without a number has
 * one slot each time it is named.
 *
 * Invariants
 *  1. A host is used only when it answered its last probe; this host needs none.
 *  2. A probe takes at most TARN_PROBE_SECONDS and never keeps the supervisor from serving: it is a child process,
 *     whose beginning is not waited for either.
 *  3. Hosts that all answer may not reach each other: one at a time is left out on trial, the last of the list first.
 *  4. A host that a spot notice named stays out for TARN_HOST_REST_SECONDS.
 */
#ifndef TARN_SUPERVISOR_HOSTS_H
#define TARN_SUPERVISOR_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

static const double TARN_PROBE_SECONDS = 5, TARN_HOST_REST_SECONDS = 600;

typedef struct tarn_host {
    char name[256];
    int slots;
    bool local, answers;
    pid_t probe;           /* the agent at work, 0 none */
    double rests_until;    /* tarn_seconds, 0 */
    bool left_out;         /* rests because ranks did not reach each other */
    int first_rank, ranks; /* of the launch */
} tarn_host;

typedef struct tarn_hosts {
    tarn_host *host;
    int count;
    double probe_started;
} tarn_hosts;

/* Reads the list anew, keeping what is known of hosts that stay. False: `problem` says what is wrong, and the list is
 * as before. */
bool tarn_hosts_read_list(tarn_hosts *hosts, const char *list, char *problem, size_t size);
bool tarn_hosts_read_file(tarn_hosts *hosts, const char *path, char *problem, size_t size);
/* A list read elsewhere takes the place of the hosts, with what is known of those that stay; it has none afterwards. */
void tarn_hosts_replace(tarn_hosts *hosts, tarn_hosts *read);
/* Starts probing all hosts but this one: AGENT HOST COMMAND. */
void tarn_hosts_probe(tarn_hosts *hosts, const char *agent, const char *command, double now);
/* Tells a probe that it ended (wait status). False: not one of its children. */
bool tarn_hosts_reaped(tarn_hosts *hosts, pid_t pid, int status);
/* Ends probes that took too long; true when none is at work. */
bool tarn_hosts_probed(tarn_hosts *hosts, double now);
/* Slots of the hosts that may be used now. */
int tarn_hosts_slots(const tarn_hosts *hosts, double now);
/* Leaves one other host out for `seconds`, in place of one left out before, whose absence did not help; *turn counts
 * those tried. NULL when fewer than `least` slots would stay. */
tarn_host *tarn_hosts_leave_out(tarn_hosts *hosts, int *turn, int least, double seconds, double now);
/* Gives `ranks` ranks to the hosts in order and writes mpirun's --host argument ("a:2,b:1"); returns how many found a
 * place. */
int tarn_hosts_assign(tarn_hosts *hosts, int ranks, double now, char *out, size_t size);
/* The host that runs a rank, or NULL. */
tarn_host *tarn_hosts_of_rank(const tarn_hosts *hosts, int rank);
bool tarn_hosts_all_local(const tarn_hosts *hosts);
/* Whether a host name means this host. */
bool tarn_host_is_local(const char *name);
void tarn_hosts_free(tarn_hosts *hosts);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

/*
 * mvm-agent: the first process of a guest, and the host's hand in it.
 *
 * One thread, one event loop.  main.c boots the machine (boot.h), then serve.c answers the calls
 * of the agent protocol (net/agent.h).  A call that takes time is a stream with its own state
 * (exec.c, health.c); nothing but CALL_PREPARE and CALL_RESTORED, which last milliseconds and
 * have deadlines, ever makes the loop wait.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/str.h"
#include "child.h"
#include "net/channel.h"
#include "network.h"
#include "sever.h"
#include "slots.h"

#define NONCE_SIZE   32u
#define STREAMS_MAX  256u /* open at once; each may hold a window of input */
#define AGENT_CGROUP "mvm-agent"

struct stream;
struct kept;
struct agent;

typedef void (*rehearsed_fn)(struct agent *a, uint32_t id);

/* Commands that run in advance (rehearse.h). */
struct rehearsal {
	rehearsed_fn fn; /* NULL: none */
	uint32_t id;	 /* for fn */
	unsigned left;
	uint64_t serial; /* exec_serial before them */
	struct loop_source *timer;
};

enum workload_state {
	WORKLOAD_NONE = 0, /* not configured yet, or an image without command and init */
	WORKLOAD_INIT,	   /* the image's own init is PID 1 */
	WORKLOAD_RUNS,
	WORKLOAD_ENDED,
};

struct agent {
	struct loop *loop;
	struct channel channel;
	struct loop_source *channel_source;
	bool port_is_vsock;
	int channel_error; /* negative errno once the port is unusable */
	struct loop_source *hangup_timer;

	char *argv0;   /* our own argv[0], which workload.c marks; NULL outside a guest */
	char *program; /* our own program; NULL: no rehearsals (tests) */
	int cgroup_fd; /* the root of cgroup v2; -1 without one (tests) */
	int image_fd;  /* the image's root, below the overlay; -1 without one (tests) */
	int upper_fd;  /* the root disk's own root folder; -1: the root is written in memory */
	struct children children;
	struct stream *streams;
	unsigned n_streams;
	struct kept *kept; /* commands that outlive their streams (kept.h) */
	uint64_t exec_serial;
	uint64_t spare_group; /* number of the next command's cgroup, which exists; 0: none */
	int spare_group_fd;   /* of that cgroup, while there is one */
	struct rehearsal rehearsal;

	struct stream *commit; /* of CALL_COMMIT, until its child has ended; NULL: none */
	bool committing;       /* all but the agent's processes are frozen for it */
	bool configured, frozen, prepared;
	struct connections connections; /* of the frozen guest; a fork resets them */
	bool held;			/* it has its identity; the workload waits for CALL_START */
	bool unstarted;	     /* the workload has never run, here or where the snapshot was taken */
	bool no_workload;    /* the host wants none: args are never started */
	struct strv args;    /* the workload's; none: an init of the image's */
	uint64_t zero_bytes; /* of PREPARE, for its second half */
	uint8_t nonce[NONCE_SIZE]; /* lives nowhere else */
	struct strv env;	   /* the workload's */
	char *workdir, *user;	   /* the workload's too; NULL: "/", root */
	int stop_signal;	   /* 0: SIGTERM */
	struct strv on_restore;
	bool restore_restart;	/* a clone restarts its workload */
	int restore_signal;	/* else a clone sends it this signal; 0: none */
	struct strv stages;	/* "name=nanoseconds" */
	struct network network; /* the last configuration */
	struct slots slots;

	enum workload_state workload;
	struct child workload_child;
	int workload_status; /* as wait(2) gives it */
	int output_fd;	     /* its output (output.h); -1: it has no writer */
	struct loop_source *output_source;
	uint64_t output_lost; /* bytes dropped since the last report of lost bytes */

	bool shutting_down;
	struct loop_source *shutdown_timer;
};

/* Make an agent that talks over port_fd (non-blocking; taken over) and watches its children.
 * Nothing is sent yet.  On failure the caller still calls agent_done(). */
int agent_init(struct agent *a, int port_fd);
void agent_done(struct agent *a);

/* Record the time since the kernel's start at which a stage was reached. */
void agent_stage(struct agent *a, const char *name);

/* One line on the console: "mvm-agent: ...". */
void agent_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif

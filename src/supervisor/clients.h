/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_CLIENTS_H
#define SUPERVISOR_CLIENTS_H

/*
 * The clients of a supervisor: connections to control.sock, and the very first connection, the
 * "leash", which the starter of the instance holds.
 *
 * Calls for the guest are passed on under a stream id of our own, and their frames are carried back
 * and forth.  Calls for the supervisor wait in a queue until it takes them.  No client or guest can
 * stall another: every stream has a window in each direction (net/agent.h), so the bytes that wait
 * for a slow reader are bounded, and a client or guest that exceeds its window is cut off.
 */

#include "base/loop.h"
#include "instance/handover.h"
#include "supervisor/agent_client.h"

/*
 * A guest's agent runs 256 commands at once (guest/agent.h), each usually over a connection of its
 * own; the others wait, look or follow logs.  An idle client takes some 300 bytes and a descriptor,
 * one that does not read up to a window for each of its streams.  So 256 commands take at most
 * twice 64 MiB of their output, since buffers grow by doubling, and what agent_client.c allows for
 * input.
 */
#define CLIENTS_MAX 1024u
#define STREAMS_MAX 1024u

struct client;

/* A call for the supervisor. */
struct job {
	struct job *next;
	uint64_t client_id;
	uint32_t stream;
	unsigned call;
	struct strbuf args; /* the call's whole payload */
};
void job_free(struct job *j);
DEFINE_AUTO(job, job_free)

struct stream {
	bool used;
	bool exec;	       /* ends with FRAME_END, not with the reply */
	bool copy;	       /* PUT, GET or COMMIT */
	bool started;	       /* the reply has come */
	bool cancelled;	       /* the guest was sent RESET */
	uint8_t ended;	       /* channels that the guest has ended: 1u << enum data_channel */
	struct client *client; /* NULL: it is gone, and the guest has not answered RESET yet */
	struct stream *next;   /* in the client's list, or in the free list */
	uint32_t client_stream;
	uint32_t guest_window;	/* bytes that the guest may still send */
	uint32_t client_window; /* bytes that the client may still send */
};

/* A client that waits for more in the logs. */
struct log_wait {
	struct log_wait *next;
	uint64_t client_id;
	uint32_t stream;
};

struct clients {
	struct loop *loop;
	struct agent_client *agent; /* its on_frame is ours */
	int listen_fd;		    /* -1: not listening */
	uid_t owner;		    /* this user and root may connect */
	struct loop_source *listen_source;
	struct client *list;
	unsigned n_clients;
	uint64_t last_id, leash_id;
	struct stream *streams; /* STREAMS_MAX; index + 1 is the guest's stream id */
	unsigned n_streams;	/* how many of them were ever used */
	struct stream *free_streams;
	struct job *jobs, **jobs_end;
	struct log_wait *log_waits;
	unsigned n_log_waits;
	uint64_t logged;      /* bytes of output that the logs were given */
	const char *no_agent; /* refusal text when the guest has no agent, else NULL */
	/* refusal text (EBUSY) for all calls but STOP, WAIT, INSPECT, KEEP and LOGS; NULL: accept
	 * them */
	const char *busy;
	bool guest_gone;   /* refuse calls for the guest */
	bool comes_back;   /* it will be started again: refuse with `busy` meanwhile */
	char goodbye[128]; /* refusal text when the guest is gone; "": the usual one */
	bool guest_paused; /* refuse new calls for the guest; running ones just wait */
	unsigned n_used;   /* commands and copies that run in the guest */
	int64_t used_ns;   /* when the last of them began or ended; 0: never */
	bool some_left;	   /* clients have hung up since the owner last set this to false */
	void (*on_leash_gone)(void *arg);
	void (*on_job)(void *arg, const struct job *j); /* it was queued; may be NULL */
	void *arg;
};

int clients_init(struct clients *c, struct loop *loop, struct agent_client *agent);
void clients_done(struct clients *c);

/* Is the client still connected? */
bool clients_has(const struct clients *c, uint64_t client_id);

/* Does anybody hold the leash? */
bool clients_has_leash(const struct clients *c);

/* The agent client's on_frame; arg is the struct clients. */
void clients_on_guest_frame(void *arg, const struct frame *f);

/* Take over a connected socket as the leash. */
int clients_add_leash(struct clients *c, int fd);

/* Take over a connected socket as a client that is the supervisor's own child: `busy` does not
 * apply to it. */
int clients_add_own(struct clients *c, int fd, uint64_t *ret_id);

/* Give the leash to a client.  Returns its former holder, which stays connected. */
uint64_t clients_move_leash(struct clients *c, uint64_t client_id);

/* Hang up on a client.  A client that is gone is fine. */
void clients_hang_up(struct clients *c, uint64_t client_id);

/* Hang up on all clients except the leash, and accept no more. */
void clients_keep_leash(struct clients *c);

/* Accept connections from listen_fd (taken over) of our own uid and root. */
int clients_listen(struct clients *c, int listen_fd);

/* The guest is gone: end every stream by closing its client's call with an error. */
void clients_guest_gone(struct clients *c);

/* End all copies to and from the guest.  why: message for their clients (EBUSY). */
void clients_end_copies(struct clients *c, const char *why);

/* clients_guest_gone() for a guest that is about to go.  why: message for its clients. */
void clients_say_goodbye(struct clients *c, const char *why);

/* The guest is back: accept calls for it again. */
void clients_guest_back(struct clients *c);

/* Take the next call for the supervisor; job_free() it.  NULL: none. */
struct job *clients_next_job(struct clients *c);

/* Answer a job, or the leash's "start".  err: NULL for success; else its code, text and reason are
 * sent.  fields: added to them; may be NULL.  A client that is gone by now is no error. */
void clients_reply(struct clients *c, uint64_t client_id, uint32_t stream,
		   const struct mvm_error *err, const struct strbuf *fields);

/* CALL_LOGS of a client: answer it now, or once there is more in the logs.  Returns false when the
 * client was dropped. */
bool clients_await_logs(struct clients *c, uint64_t client_id, const struct frame *f);

/* A log was given more bytes; arg is the struct clients (struct logfile, on_add). */
void clients_logged(void *arg, size_t bytes);

/* Drop the waiting CALL_LOGS. */
void clients_forget_logs(struct clients *c);

/* Does any client still have unsent bytes?  For the last moments before the end. */
bool clients_want_write(const struct clients *c);

#endif

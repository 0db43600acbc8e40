/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_E2B_E2B_H
#define SERVICE_E2B_E2B_H

/*
 * The wire of the e2b packages (doc/e2b.md): a control API, and envd's services for each sandbox.
 *
 * A sandbox is an instance whose name is the sandbox's id.  What the instance's record has no place
 * for (token, metadata, variables, the end of its lease) is a document, a file in the data folder
 * that is written before the VM starts and removed after it is gone.  The loop has all documents in
 * memory; workers get copies and post news (sandbox_post()).
 *
 * A lease is a timer of the loop.  The file keeps its end, so that an mvmd that starts later
 * carries out what is due.
 *
 * Threads: the loop only, except where a comment says "worker".
 */

#include <jansson.h>
#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "route.h"

#define SANDBOX_ID_SIZE	   24
#define SANDBOX_RANDOM	   20 /* letters of an id after its "i" */
#define SANDBOX_TOKEN_SIZE 65
#define E2B_PORT	   49983 /* envd's in each sandbox: requests for it are answered by mvmd */

/* What of envd works here: the SDK asks for no feature of a later one (doc/e2b.md). */
#define ENVD_VERSION "0.6.4"

struct server;
struct request;
struct e2b;

/* Something that uses a sandbox's guest: a stream or a watcher. */
struct sandbox_use {
	struct sandbox_use *next, **link;
	void (*drop)(struct sandbox_use *use); /* the sandbox goes: let go of it */
};

struct sandbox {
	struct sandbox *next;
	char id[SANDBOX_ID_SIZE];
	json_t *doc;	/* see sandboxes.c */
	int64_t end_ms; /* of the lease, since 1970; 0: it is paused */
	bool ending;	/* a worker pauses or removes it */
	bool due;	/* its lease is over, and what is due has its turn or waits for it */
	struct sandbox_use *uses;
};

struct e2b {
	struct server *server;
	char *folder; /* of the documents */
	struct sandbox *sandboxes;
	struct turn *turns; /* the first ones come first */
	struct watcher *watchers;
	uint64_t last_watcher;
	struct loop_source *lease_timer;

	/* Of ends, pauses and leases.  They do not end with the client that asks for them, since a
	 * half of them is worse than none, but with mvmd. */
	struct mvm_progress ends;
	atomic_bool gives_up;
};

/* The server's.  Errors: -EOPNOTSUPP when it serves no e2b wire. */
int e2b_of(const struct server *server, struct e2b **ret, struct mvm_error *err);

/* Read the documents, forget those without a VM, and start the leases. */
int e2b_start(struct server *server, struct mvm_error *err);
void e2b_give_up(struct server *server); /* mvmd ends: what a worker waits for fails */
void e2b_stop(struct server *server);	 /* after the requests, before the loop */

extern const struct route e2b_routes[];	     /* control.c: the control API */
extern const struct route e2b_envd_routes[]; /* envd.c: what a sandbox's guest is asked */
extern const struct route e2b_port;	     /* ports.c: in no table, for e2b_port_of() */

/*
 * Is a request for a port of a sandbox's guest?  By its host name, also if there is no such sandbox
 * any more, or by the headers E2b-Sandbox-Id and E2b-Sandbox-Port.
 *
 *   ret_id  PROXY_NAME_SIZE bytes
 */
bool e2b_port_of(const struct request *rq, char *ret_id, uint16_t *ret_port);

/* ---- sandboxes.c ---- */

/* The sandbox, or NULL. */
struct sandbox *sandbox_find(const struct e2b *e, const char *id);

/* Does a name look like a sandbox's id?  An instance that somebody else has named may, too. */
bool sandbox_is_id(const char *name);

/* Find a sandbox for a client.  -ENOENT: there is none, and err names it. */
int sandbox_get(const struct e2b *e, const char *id, struct sandbox **ret, struct mvm_error *err);

/* Can its guest be used now? */
bool sandbox_runs(const struct sandbox *s);

/* Does a request to its guest wake it when it is paused? */
bool sandbox_wakes(const struct sandbox *s);

/* Use the sandbox until sandbox_unuse(). */
void sandbox_use(struct sandbox *s, struct sandbox_use *use, void (*drop)(struct sandbox_use *use));
void sandbox_unuse(struct sandbox_use *use);

/* Let go of everything that uses it: before it is paused or removed. */
void sandbox_drop_uses(struct sandbox *s);

/* An own copy of its document, for a worker. */
json_t *sandbox_copy(const struct sandbox *s);

/* Text of a member of a document; NULL: it has none.  Any thread that owns the document. */
const char *sandbox_text(const json_t *doc, const char *key);

/* Random lower-case hex or letters, n characters. */
void sandbox_random(char *ret, size_t n);

/* Worker: write a document to the disk.  0 or -errno. */
int sandbox_save(struct e2b *e, const json_t *doc, struct mvm_error *err);

/* Worker: is it paused without its memory?  The file knows it before the loop does. */
bool sandbox_is_on_disk(struct e2b *e, const json_t *doc);

/* Worker: write to its file that it is, or is not; the rest of the file stays. */
int sandbox_mark_on_disk(struct e2b *e, const char *id, bool on_disk, struct mvm_error *err);

/* Has the VM ended? */
struct mvm_instance_info;
bool sandbox_is_over(const struct mvm_instance_info *info);

/* Worker: remove it. */
void sandbox_forget(struct e2b *e, const char *id);

/* Worker: the loop gets this document in place of the one it has, before the worker's request is
 * answered; doc is taken over.  NULL: the sandbox is gone. */
void sandbox_post(struct e2b *e, const char *id, json_t *doc);

#define SANDBOX_AGAIN_MS 10000 /* after what is due at a lease's end could not be done */

/* A worker has tried to do what the end of the lease asks for.  If the sandbox still has that
 * end, a worker tries again after again_ms. */
void sandbox_lease_done(struct e2b *e, struct sandbox *s, int64_t again_ms);

/* The lease of a document, as a real number of seconds since 1970; 0: none. */
#define SANDBOX_END "endAt"

/* Members of a document: a request to its guest wakes it, and then its lease is this many seconds,
 * or SANDBOX_WAKE_MIN_S. */
#define SANDBOX_AUTO_RESUME   "autoResume"
#define SANDBOX_AUTO_RESUME_S "autoResumeSeconds"
#define SANDBOX_WAKE_MIN_S    300.0 /* as E2B does it */

/* A member of a document: it is paused without its memory, so its VM has ended. */
#define SANDBOX_ON_DISK "onDisk"

/* ---- turns.c ---- */

/*
 * Run fn on a worker, after earlier changes of the route's {sandboxID}, and then give a copy of its
 * document to rq->own.  Whatever changes a document does it so; its news and its end are in
 * WORK_START's order.
 *
 *   ends  it pauses or removes the sandbox, which is gone for its guest's clients as it begins
 */
int control_change(struct request *rq, work_fn fn, bool ends, struct mvm_error *err);

/* Do in its turn what is due when the lease is over.  False: out of memory. */
bool sandbox_end_lease(struct e2b *e, struct sandbox *s);

/*
 * A request to a sandbox's guest is about to be served.  One that is paused, or that is just being
 * paused, is waked in its turn if it was created with auto_resume; several requests wait for one
 * waking.  The caller has checked that the request may use the guest.
 *
 * Returns 0 if there is nothing to wait for, or 1: the request goes on, or fails, once the sandbox
 * runs or cannot, which may be at once.
 */
int sandbox_wake_for(struct e2b *e, struct sandbox *s, struct request *rq, struct mvm_error *err);

void turns_free(struct e2b *e);

/* ---- actions.c: workers ---- */

/* End the VM and forget the sandbox. */
int sandbox_kill(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_error *err);

/* Suspend the VM or, without memory, end it; -EALREADY when it is paused already. */
int sandbox_pause(struct e2b *e, struct mvm *mvm, const json_t *doc, bool memory,
		  struct mvm_error *err);

/* Pause it without memory, also when its file has the mark already. */
int sandbox_stop(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_error *err);

/* Resume it for its guest's clients, with a new lease. */
int sandbox_wake(struct e2b *e, struct mvm *mvm, json_t *doc, struct mvm_error *err);

/* -EOPNOTSUPP: the VM has no root disk, which a pause without memory needs. */
int sandbox_check_disk(struct mvm *mvm, const char *id, struct mvm_error *err);

uint64_t sandbox_root_disk_bytes(const struct mvm_instance_info *info); /* 0: it has none */

/* Where its files go: its root disk, else its memory. */
uint64_t sandbox_files_bytes(const struct mvm_instance_info *info);

/* ---- control.c, control_more.c: workers of control routes ---- */

/* Reply to a failure as the control API does: {"code", "message"}. */
void control_fail(struct request *rq, unsigned status, const struct mvm_error *err);

/* Find the route's {sandboxID}, give a copy of its document to rq->own and run fn on a worker. */
int control_with(struct request *rq, work_fn fn, enum work_class class, struct mvm_error *err);

/* The "Sandbox" of a reply. */
json_t *control_sandbox(const json_t *doc);

/* A new document with id, token and times.  timeout_s from now. */
json_t *control_document(const char *template_id, double timeout_s, struct mvm_error *err);

/* The number of seconds of a body's member, within what is allowed; *ret stays when it is
 * missing. */
int control_seconds(const struct request *rq, const char *key, double *ret, struct mvm_error *err);

/* Lists of a body's "network", as rules of mvm. */
struct strv;
int control_rules(json_t *network, bool internet, struct strv *allow, struct strv *deny,
		  struct mvm_error *err);

/* A "ListedSandbox"; with detail a "SandboxDetail". */
json_t *control_info(const json_t *doc, const struct mvm_instance_info *info, bool detail);

/* Look at the VM behind a document.  One that has ended is removed, and the sandbox forgotten:
 * -ENOENT. */
int control_look(struct e2b *e, struct mvm *mvm, const json_t *doc, struct mvm_instance_info **ret,
		 struct mvm_error *err);

int control_list(struct request *rq, struct mvm_error *err); /* a route's handle */
int control_fork(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int control_snapshot(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int control_snapshots(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int control_delete_template(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int control_metrics(struct request *rq, struct mvm *mvm, struct mvm_error *err);
int control_network(struct request *rq, struct mvm *mvm, struct mvm_error *err);

#endif

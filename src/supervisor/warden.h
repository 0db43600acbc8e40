/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_WARDEN_H
#define SUPERVISOR_WARDEN_H

/*
 * A supervisor is two processes.  The one that reads what its guest says is shut in (shut_in.h) and
 * can do nothing but compute and use the descriptors that it has.  The warden keeps the rights, and
 * reads nothing that a guest has written: it starts, kills and reaps the VMM, writes record and
 * events, opens logs, names and removes the folder, has the ports of IPv6 addresses, and starts the
 * process that copies volumes.
 *
 * The shut-in part asks it by the functions below.  The warden treats each question as an
 * attacker's.  It decides by its own copy of the record, which the starter has written; from the
 * other part it takes only the state of the VM.
 *
 * In tests, for a backend that has only spawn(), and with MVM_ISOLATION=off, both are one process.
 */

#include "model/template.h"

#include "base/loop.h"
#include "instance/handover.h"
#include "instance/record.h"
#include "instance/saved.h"
#include "supervisor/line.h"
#include "supervisor/ports6.h"
#include "vmm/oom.h"
#include "vmm/vmm.h"

/* The kind of state to save. */
struct warden_saving {
	char name[64]; /* of its folder; "": none */
	int dir_fd, pages_fd;
	int64_t n_pages;
	struct saved info; /* what is known of it so far */
	struct own_disks_copying copying;
	bool copied; /* all disks */
	struct sha256_parts pages;
	struct saved_noting noting;
};
#define WARDEN_SAVING_NONE                                                                         \
	{                                                                                          \
		.dir_fd = -1, .pages_fd = -1, .copying = OWN_DISKS_COPYING_NONE,                   \
		.noting = SAVED_NOTING_NONE                                                        \
	}

/* What to do with the saved state that a start continues. */
enum warden_use {
	USE_TAKE = 1, /* the guest's processes are about to run */
	USE_FORGET,   /* they do */
	USE_DISCARD,  /* a VM that has just been suspended must end after all */
};

/* The process with the rights. */
struct warden {
	const struct supervisor_given *given;
	const struct vmm_ops *ops;
	struct loop *loop; /* borrowed */
	struct record record;
	struct record wanted; /* the record of an adopted VM that is not up yet; no name: none */
	struct mvm_template_revision revision;
	unsigned starts;
	bool removed; /* the folder is removed, as far as possible: start no VM any more */
	struct vmm_probe probe;
	struct vmm_config config; /* of the last start */
	int theirs[2];		  /* the VMM's ends of its agent and console, for spawn(); or -1 */
	int memory_dir_fd;	  /* -1: none */
	struct vmm_body *body;
	bool stored, laid; /* move_state() has stored, or laid, the VMM's device state */
	struct ports6 ports;
	struct oom_watch oom;
	int volume_fds[RECORD_VOLUMES_MAX]; /* locks of named volumes; 0: none */
	pid_t shut_in;			    /* the other process; 0: none */
	pid_t copier;			    /* copies volumes; 0: none */
	int64_t told_ns; /* the events so far are within the limit from this time on */
	struct warden_saving saving;
	int devices_fds[2]; /* the file of device state: to read, to write; 0: none */
	bool suspended;	    /* the folder "saved" is whole, and belongs to this VM */
	int saved_dir_fd;   /* the saved state that the start continues; -1: none */
	char saved_nonce_sha256[65];
	char taken[64]; /* the folder "saved" while its processes begin to run; "": none */
};

/* The way to it. */
struct warden_link {
	int fd;		     /* -1: it is in this process */
	struct warden *here; /* NULL: it is not */
};

enum warden_log { WARDEN_CONSOLE_LOG, WARDEN_WORKLOAD_LOG, WARDEN_LOGS };

/* The result of a start.  The caller owns the descriptors. */
struct warden_started {
	int agent_fd, console_fd;
	int log_fds[WARDEN_LOGS];
	bool apart; /* the VMM runs, and vmm_attach() is next; else vmm_spawn() */
	struct vmm_ends ends;
	enum record_memory memory;
	int64_t copied_ns; /* when its memory was copied; 0: not copied */
};
void warden_started_done(struct warden_started *s);
DEFINE_AUTO_DONE(warden_started, warden_started_done)

/* Prepare a warden: loads record and revision.  warden_done() it, also after a failure. */
int warden_init(struct warden *w, const struct supervisor_given *given, struct mvm_error *err);
void warden_done(struct warden *w);

/* Answer a question. */
void warden_answer(struct warden *w, const struct line_message *asked, struct line_message *ret);

/* Note a VMM that vmm_spawn() has made in this process. */
void warden_note_vmm(struct warden *w, int64_t pid, unsigned isolation);

/* Would a restore by the wanted record give the same VM as this one of a pool? */
int record_check_fit(const struct record *have, const struct record *wanted, struct mvm_error *err);
/* Make the record of an adopted VM: the wanted one, with the facts about the VM.  Changes both. */
void record_take_over(struct record *have, struct record *wanted);

/* ---- questions ---- */

/* Start a VMM, as the record says.  There is none yet, or the last one was put away. */
int warden_start(struct warden_link *l, struct warden_started *ret, struct mvm_error *err);

/* How vmm_attach() reaches the body. */
struct vmm_keeper warden_keeper(struct warden_link *l);

/* The VMM has opened its memory. */
void warden_forget_memory(struct warden_link *l);

/* Why the kernel killed it with SIGKILL (vmm/oom.h) or SIGBUS (vmm/bus.h); "" if it did not. */
#define WHY_KILLED_SIZE 384u
void warden_why_killed(struct warden_link *l, int signal, char ret[WHY_KILLED_SIZE]);

/* The VMM has ended: forget it, its ports and its cgroup. */
void warden_put_away(struct warden_link *l);

/* Move a full log, which nobody has open, aside, and open a new one.  A log that is not full, or
 * that somebody writes to, is opened again.  Returns its descriptor or -errno. */
int warden_new_log(struct warden_link *l, enum warden_log log);

/* Write the record, with the state that rec has. */
void warden_save(struct warden_link *l, const struct record *rec);
/* Take other rules for the network, as CALL_NETWORK has them.  The next warden_save() writes them
 * into the record, and the next VMM gets them. */
int warden_rules(struct warden_link *l, const char *json, struct mvm_error *err);
void warden_tell(struct warden_link *l, const char *event, const char *message);

/* Put the VMM into a cgroup, and fill in rec's cgroup and limits. */
void warden_confine(struct warden_link *l, struct record *rec);

/* Bytes of the memory file that are in use. */
uint64_t warden_touched_bytes(struct warden_link *l);
/* Capture the VM's own disks, if there are any. */
int warden_capture_disks(struct warden_link *l, struct mvm_error *err);

/*
 * Keep the state of a VM: begin, pause it, save its devices into the descriptor, copy; then end,
 * for which a fork's origin may run again.
 *
 *   disks	   the VM's disks as well: copy those of a fork, read those of a suspend
 *   nonce_sha256  of the frozen guest's nonce
 *   ret_name      of the fork's folder, which warden_save_drop() removes
 *
 * begin returns a descriptor that can be written, or -errno.  copy and read, which comes before the
 * end, work in parts.  They return 1 as long as there is more, and then the caller may give up.
 * Without an end, or after one that fails, nothing stays.  After warden_save_suspend() the VM must
 * not run again.
 */
int warden_save_begin(struct warden_link *l, struct mvm_error *err);
int warden_save_copy(struct warden_link *l, bool disks, struct mvm_error *err);
int warden_save_read(struct warden_link *l, bool disks, struct mvm_error *err);
int warden_save_suspend(struct warden_link *l, const char *nonce_sha256, struct mvm_error *err);
int warden_save_fork(struct warden_link *l, const char *nonce_sha256, char ret_name[64],
		     struct mvm_error *err);
void warden_save_drop(struct warden_link *l,
		      const char *name); /* NULL: the state that is being saved */

/* A VM that continues a saved state has answered: give it its memory. ret: SHA-256 of the guest's
 * nonce. */
int warden_load_saved(struct warden_link *l, char ret_nonce_sha256[65], struct mvm_error *err);
int warden_use_saved(struct warden_link *l, enum warden_use how, struct mvm_error *err);

/*
 * A VM of a pool becomes the instance of the record that a start has left in its folder.
 *
 *   ret              the forwards as the VMM gets them, n of them
 *   ret_name_servers  those that the host has now, when the template names none
 *
 * warden_adopted() when it is up; else warden_give_up_adoption().
 */
int warden_adopt(struct warden_link *l, struct vmm_forward ret[RECORD_FORWARDS_MAX],
		 struct strv *ret_name_servers, struct mvm_error *err);
void warden_adopted(struct warden_link *l);
void warden_give_up_adoption(struct warden_link *l);

/* Rename the instance.  The command that wants this has left the name in its folder. */
int warden_rename(struct warden_link *l, const char *to, struct mvm_error *err);

/*
 * Start the process that copies the volumes in, or back.
 *
 *   ret_report_fd   a pipe: its error, or a note about files that it has left out
 *   ret_control_fd  its connection: a client of ours
 */
int warden_copy(struct warden_link *l, bool back, int *ret_report_fd, int *ret_control_fd,
		struct mvm_error *err);
/* Reap it, and kill it first if it is not done.  Returns its wait status. */
int warden_copied(struct warden_link *l, bool kill);

/* Free the revision and the volumes, and end a VM that still has them. */
void warden_release(struct warden_link *l);
/* Remove control.sock. */
void warden_stop_listening(struct warden_link *l);
/* End a VM that still runs, and remove the instance. */
void warden_remove(struct warden_link *l);

#endif

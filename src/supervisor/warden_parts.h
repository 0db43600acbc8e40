/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_WARDEN_PARTS_H
#define SUPERVISOR_WARDEN_PARTS_H

/* What the warden's files share: warden.c has the record and the folder, warden_vmm.c the VMM,
 * warden_body.c the ops of its backend, warden_copy.c the volumes, warden_saved.c the state that a
 * suspend or a fork keeps, warden_continue.c the one that a resume or a fork continues. */

#include "net/wire.h"
#include "supervisor/supervise.h"
#include "supervisor/warden.h"

/* The instance's folder. */
static inline int instance_fd(const struct warden *w)
{
	return w->given->fd[SUPERVISOR_FD_INSTANCE];
}

/* Each answers one question, as warden.h describes it.  0 or -errno with a sentence. */
int vmm_answer_start(struct warden *w, struct line_message *ret, struct mvm_error *err);
int vmm_answer_reap(struct warden *w, struct line_message *ret);
/* The folder of the device state that the VMM writes (create) or restores from; -EPERM: it may
 * not. */
int vmm_state_dir(const struct warden *w, bool create);
int vmm_answer_open_state(struct warden *w, bool create, struct line_message *ret);
int vmm_answer_capture_disks(struct warden *w, struct mvm_error *err);
uint64_t vmm_touched_bytes(const struct warden *w);
void vmm_forget_memory(struct warden *w);
void vmm_put_away(struct warden *w);

/* warden_body.c: what the backend's body does. */
int body_answer(struct warden *w, const struct line_message *asked, struct line_message *ret,
		struct mvm_error *err);

/* warden_saved.c: the VM's state is kept. */
int saved_answer(struct warden *w, const struct line_message *asked, struct line_message *ret,
		 struct mvm_error *err);
void saved_done_with(struct warden *w);

/* warden_continue.c: a kept state is continued. */
/* Before a start: open and check what the record says that it continues. */
int continue_open(struct warden *w, struct mvm_error *err);
void continue_close(struct warden *w);
int continue_answer_load(struct warden *w, struct line_message *ret, struct mvm_error *err);
int continue_answer_use(struct warden *w, uint64_t how, struct mvm_error *err);

int copy_answer_start(struct warden *w, bool back, struct line_message *ret, struct mvm_error *err);
int copy_answer_end(struct warden *w, bool kill, struct line_message *ret);
void copy_release(struct warden *w);

/* Copy a field's text.  Returns false if it has a NUL or is too long; then `to` stays. */
bool take_chars(char *to, size_t size, const struct wire_field *f);

/* A field about refusals of a record that is saved.  Returns whether it is one. */
bool network_take_field(struct record *rec, const struct wire_field *f);
int network_answer_start(struct warden *w, struct line_message *ret, struct mvm_error *err);
/* Add the host's name servers of now, if mvm-net asks those. */
void network_put_name_servers(const struct warden *w, struct strbuf *fields);
/* The pid of the network's process; 0: there is none. */
int64_t network_pid(const struct warden *w);
int network_answer_rules(struct warden *w, const struct line_message *asked, struct mvm_error *err);

/* Bytes that the VM's logs may have each. */
uint64_t log_longest(const struct record *rec);

/* Open a log; aside: move what is there aside first.  Returns a descriptor or -errno. */
int log_open(struct warden *w, enum warden_log log, bool aside);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPERVISOR_WORLD_H
#define TESTS_SUPERVISOR_WORLD_H

/*
 * A supervisor without a guest.  It is a child of the test, and its backend is scripted
 * (scripted_vmm.h).  The test plays its starter, its clients and the guest's agent.
 *
 * A test sets x->record and x->revision, calls launch(), then plays what happens step by step.
 * Every wait has a deadline.  A supervisor that dies of a sanitizer or of an illegal step of its
 * state fails the test.
 */

#include "instance/control.h"
#include "instance/folder.h"
#include "instance/record.h"
#include "model/template.h"
#include "net/agent.h"
#include "net/channel.h"
#include "net/wire.h"
#include "scripted_vmm.h"
#include "supervisor/supervise.h"

struct world {
	char dir[64];
	int instances_fd, revision_fd, logs_fd;
	struct record record; /* the first record */
	struct mvm_template_revision revision;
	struct instance_folder folder;
	void (*fill_folder)(struct world *x); /* before the supervisor runs; may be NULL */
	int64_t boot_ms, boot_max_ms, restart_pause_ms, freeze_ms, suspend_again_ms;
	struct control leash;
	int steps_fd; /* the other end of scripted_vmm_fd */
	pid_t supervisor;
	/* the guest of the VMM that was spawned last */
	pid_t vmm;
	struct channel guest;
};

int world_setup(void **state);
int world_teardown(void **state);

/* Start the supervisor, which then spawns its VMM. */
void launch(struct world *x);

/* Wait until the supervisor is at this step, and let it continue. */
void expect_step(struct world *x, enum vmm_step letter);
void go_on(struct world *x);
void fail_step(struct world *x);

/* Wait until the next VMM was spawned. */
void expect_spawn(struct world *x);

/* Boot the guest, up to the agent's last answer. */
void say_hello(struct world *x);
void boot_guest(struct world *x);

/* Boot the guest at a restart, until the VM is up. */
void boot_again(struct world *x);

/* Wait for the start's result, as `mvm run` does; returns its status. */
int start_status(struct world *x, struct mvm_error *err);

/* launch() and boot_guest(); the start must succeed. */
void start_up(struct world *x);

/* Start a clone, up to the step that loads its snapshot. */
void load_clone(struct world *x);

/* Restore a clone, which is up then.  Later, after a SUSPEND or FORK: freeze it, up to the step
 * that saves its devices. */
void start_clone(struct world *x);
void freeze_clone(struct world *x);

/* Start the VM of a pool: restored, rehearsed, paused. */
void stand_by(struct world *x);

/* Kill the VMM; the agent's channel closes with it. */
void kill_guest(struct world *x);
/* Power the guest off. */
void power_off(struct world *x);
/* Close the agent's channel while the VMM runs on. */
void hang_up_agent(struct world *x);
/* Wait until the supervisor has killed the VMM. */
void expect_killed(struct world *x);

/* Wait for the next call to the agent; returns its stream.  Answers CLOCK calls itself. */
uint32_t expect_call(struct world *x, unsigned call);
void say(struct world *x, uint8_t type, uint32_t stream, const struct strbuf *fields);
void answer_call(struct world *x, uint32_t stream, int status, const char *message);
/* Answer with the nonce of the revision's snapshot. */
void answer_nonce(struct world *x, uint32_t stream);
/* Answer SHUTDOWN and power off. */
void shut_down(struct world *x);

/* Before launch(): add a volume, which is copied into the guest and back. */
void add_volume(struct world *x);
void take_volume(struct world *x);

/* Before launch(): give the template a command.  Later: end the command. */
void set_command(struct world *x);
void end_workload(struct world *x, uint64_t exit_code);

/* Connect a client to control.sock. */
void connect_client(struct world *x, struct control *ret);
/* Make a call and wait for its reply; returns its status as -errno. */
int ask(struct control *c, unsigned call, struct mvm_error *err);
/* Make a call whose reply wait_reply() waits for. */
uint32_t begin_call(struct control *c, unsigned call);
uint32_t begin_stop(struct control *c, uint64_t timeout_ms);
int wait_reply(struct control *c, uint32_t stream, struct mvm_error *err);

/* Connect a new client, which asks for the VM of a pool under this name. */
uint32_t begin_adopt(struct world *x, struct control *c, const char *name);

/* Call INSPECT.  The supervisor answers it between two steps, never during one. */
void inspect(struct world *x, struct record *ret);

/* Make the client call PAUSE, which succeeds. */
void pause_vm(struct world *x, struct control *c);

/* Make the client call STOP and hang up.  The guest shuts down, and the supervisor ends. */
void stop_vm(struct world *x, struct control *c);

/* Check the state that INSPECT tells. */
void expect_state(struct world *x, enum record_state state);

/* Wait until the supervisor ends by itself, with this status. */
void expect_end(struct world *x, int status);

/* Read instance.json; and tell whether the instance still exists. */
void load_record(struct world *x, struct record *ret);
bool has_folder(struct world *x, const char *name);

/* Count the records of an event.  message: text that its message must contain, or NULL. */
unsigned events(struct world *x, const char *event, const char *message);

#endif

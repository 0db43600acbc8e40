/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SUPERVISOR_WORLD_H
#define TESTS_SUPERVISOR_WORLD_H

/*
 * A supervisor without a guest: it is a child of the test, its backend is scripted
 * (scripted_vmm.h), and the test is its starter, its clients and the guest's agent.
 *
 * A test sets x->record and x->revision, calls launch(), then says step by step what happens. Every
 * wait has a deadline, and a supervisor that dies of a sanitizer or of an illegal step of its state
 * fails the test.
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
	struct record record; /* the first one */
	struct mvm_template_revision revision;
	struct instance_folder folder;
	int64_t restart_pause_ms;
	struct control leash;
	int steps_fd; /* the other end of scripted_vmm_fd */
	pid_t supervisor;
	/* the guest of the VMM that was spawned last */
	pid_t vmm;
	struct channel guest;
};

int world_setup(void **state);
int world_teardown(void **state);

/* Start the supervisor, which goes on to spawn its VMM. */
void launch(struct world *x);

/* The supervisor has come to this step; let it go on. */
void expect_step(struct world *x, enum vmm_step letter);
void go_on(struct world *x);
void fail_step(struct world *x);

/* The next VMM is there. */
void expect_spawn(struct world *x);

/* Boot it, up to the agent's last answer. */
void say_hello(struct world *x);
void boot_guest(struct world *x);

/* The same at a restart, until the VM is up. */
void boot_again(struct world *x);

/* What `mvm run` waits for; returns its status. */
int start_status(struct world *x, struct mvm_error *err);

/* launch(), boot_guest(), and the start has succeeded. */
void start_up(struct world *x);

/* The same for the VM of a pool: restored, rehearsed, paused. */
void stand_by(struct world *x);

/* The VMM dies, and with it the agent's channel. */
void kill_guest(struct world *x);
/* The guest powers off. */
void power_off(struct world *x);
/* The agent's channel closes, and the VMM runs on. */
void hang_up_agent(struct world *x);
/* The supervisor has killed the VMM. */
void expect_killed(struct world *x);

/* The next call for the agent; returns its stream.  CLOCK is answered by itself. */
uint32_t expect_call(struct world *x, unsigned call);
void say(struct world *x, uint8_t type, uint32_t stream, const struct strbuf *fields);
void answer_call(struct world *x, uint32_t stream, int status, const char *message);
/* With the nonce that the revision's snapshot has. */
void answer_nonce(struct world *x, uint32_t stream);
/* Answer SHUTDOWN and power off. */
void shut_down(struct world *x);

/* Before launch(): a folder whose copy-in the agent takes, and whose copy-back it is asked for. */
void add_volume(struct world *x);
void take_volume(struct world *x);

/* Before launch(): the template has a command.  Later: the command ends. */
void set_command(struct world *x);
void end_workload(struct world *x, uint64_t exit_code);

/* A client's connection to control.sock. */
void connect_client(struct world *x, struct control *ret);
/* Make a call and wait for its reply; returns its status as -errno. */
int ask(struct control *c, unsigned call, struct mvm_error *err);
/* Make a call whose reply wait_reply() waits for. */
uint32_t begin_call(struct control *c, unsigned call);
uint32_t begin_stop(struct control *c, uint64_t timeout_ms);
int wait_reply(struct control *c, uint32_t stream, struct mvm_error *err);

/* A new client asks for the VM of a pool under this name. */
uint32_t begin_adopt(struct world *x, struct control *c, const char *name);

/* What INSPECT says.  The supervisor answers it between two steps, never during one. */
void inspect(struct world *x, struct record *ret);

/* The supervisor ends by itself, with this status. */
void expect_end(struct world *x, int status);

/* What instance.json says; and whether the instance is still there. */
void load_record(struct world *x, struct record *ret);
bool has_folder(struct world *x, const char *name);

/* How often an event was recorded, with this text in its message unless that is NULL. */
unsigned events(struct world *x, const char *event, const char *message);

#endif

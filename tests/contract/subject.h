/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTRACT_SUBJECT_H
#define TESTS_CONTRACT_SUBJECT_H

/* The backend that the contract is tested on, its guest, and VMs of it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/sha256.h"
#include "fake.h"

#define ANSWER_MAX 128

/* The backend under test, and the state that its tests share. */
struct subject {
	const struct vmm_ops *ops;
	const char *skip; /* why its tests cannot run */
	struct vmm_probe probe;
	struct loop *loop;
	char folder[64];     /* holds the guest's files and the folder "snapshot" */
	int dir_fd, snap_fd; /* of folder and of folder/snapshot */
	char *cmdline;
	char nonce[ANSWER_MAX];
};
extern struct subject B;

/* One VM with our ends of its sockets. */
struct machine {
	struct vmm *vmm;
	struct vmm_body *body; /* of a clone whose backend can keep its state */
	int agent_fd;
	int console_fd;
	struct loop_source *console_source;
	char console[2048]; /* the tail of the console */
	size_t console_len;
	int ended; /* number of calls of on_ended */
};

/* Setup and teardown of a group: a folder with the guest's files, or B.skip with the reason. */
int set_up(void **state);
int tear_down(void **state);
void need_backend(void); /* skip the test if the backend cannot run */

/* The configuration of an ordinary VM; spawn() adds its channels. */
struct vmm_config config_of(enum vmm_memory memory);
int spawn(struct machine *m, struct vmm_config *c, int64_t deadline_ns, struct mvm_error *err);
void start_clone(struct machine *m);

/* Keep a paused clone's state in a new folder below B.folder, and start a clone that goes on from
 * there.  Return what the ops return. */
int64_t keep(struct machine *m, const char *folder, struct mvm_error *err);
int go_on_from(struct machine *m, const char *folder, struct mvm_error *err);
void drop(struct machine *m);
void nothing_is_left_running(void);

/* The guest answers lines with lines. */
void tell(struct machine *m, const char *line);
int hear(struct machine *m, int64_t deadline_ns, char ret[ANSWER_MAX]); /* 0 or -ETIMEDOUT */
void ask(struct machine *m, const char *line, char ret[ANSWER_MAX]);
void expect(struct machine *m, const char *line, const char *answer);

void digest_memory(struct mvm_digest *ret); /* of the snapshot */

int64_t soon(void);
void ok(int r, const struct mvm_error *err); /* fail with the error's text if r is an error */

#endif

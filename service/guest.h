/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_GUEST_H
#define SERVICE_GUEST_H

/*
 * What comes from a guest, on the loop: a command, a file, a tar or a connection (mvm/stream.h).
 *
 * The owner gets each event by a function.  An owner that cannot take more pauses: then nothing is
 * read, so the guest stops by itself once its window is full.  Events come from the loop, never
 * from within a function that the owner calls.
 */

#include <mvm/stream.h>
#include <stdbool.h>

#include "base/loop.h"

struct guest;

struct guest_ops {
	/* An event of the handle.  May pause or close the guest. */
	void (*event)(void *arg, const struct mvm_exec_event *event);
	/* It failed: nothing more comes.  May close the guest. */
	void (*failed)(void *arg, const struct mvm_error *err);
	/* There may be room for input again; may be NULL.  May close the guest. */
	void (*room)(void *arg);
};

/* Take a handle over, also when this fails. */
int guest_new(struct loop *loop, struct mvm_exec *exec, const struct guest_ops *ops, void *arg,
	      struct guest **ret, struct mvm_error *err);

/* Hang up.  From within an owner's function too.  NULL is fine. */
void guest_close(struct guest *g);

void guest_pause(struct guest *g);
void guest_resume(struct guest *g);

/* mvm_exec_write() and others, and what they need afterwards. */
int guest_write(struct guest *g, const void *data, size_t len, struct mvm_error *err);
int guest_end_input(struct guest *g, struct mvm_error *err);
struct mvm_exec *guest_exec(struct guest *g); /* for signals and sizes; then guest_wrote() */
void guest_wrote(struct guest *g);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping a clone that runs.
 *
 * Firecracker takes no snapshot without the memory.  But it writes the device state first, whole
 * and synced, and opens the memory's file then.  So it gets a file that cannot be opened, and its
 * refusal means that the state is there.  The clone's own pages are copied from outside
 * (vmm/pages.h), as QEMU's are.
 *
 * It maps the memory only when it loads a state.  So it loads without letting the guest run, which
 * reads nothing of the memory, and the pages are written over the mapping then.
 *
 * Source: release 1.16.1, create_snapshot() and restore_from_snapshot() in src/vmm/src/persist.rs.
 */
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "vmm/firecracker/firecracker.h"
#include "vmm/memory.h"

/* Part of Firecracker's words when it cannot open the memory's file. */
#define NO_MEMORY_FILE "memory backing file"

/* A stopped process takes no orders, so it may run for a moment; its guest's processes are
 * frozen. */
static int pause_alone(struct firecracker *f, int64_t deadline_ns, struct mvm_error *err)
{
	int r = fc_halt_process(f, VMM_HALT_QUIET, err);
	return r < 0 || f->paused ? r : fc_pause_by_itself(f, deadline_ns, err);
}

int fc_save_devices(struct vmm *v, int fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct firecracker *f = (struct firecracker *)v;
	struct mvm_error why = { 0 };
	(void)fd; /* it writes only files that it opens by name */
	int r = pause_alone(f, deadline_ns, err);
	if (r < 0)
		return r;
	r = fc_act(f, FC_SAVE_DEVICES, deadline_ns, &why);
	if (r == -EREMOTEIO && strstr(why.text, NO_MEMORY_FILE))
		r = 0;
	/* no timer of Firecracker's may change the memory, which is read next */
	if (r == 0)
		r = fc_halt_process(f, VMM_HALT_STILL, &why);
	/* whatever came of it, the vsock may have been reset */
	int again = v->state == VMM_ENDED ? 0 : fc_agent_again(&f->agent);
	if (r < 0)
		return mvm_error_hand_on(err, &why);
	return again < 0 ? mvm_error_set(err, again, "cannot wait for the guest's agent: %s",
					 strerror(-again))
			 : 0;
}

static int no_firecracker(struct mvm_error *err)
{
	return mvm_error_set(err, -ESRCH, "there is no Firecracker");
}

int64_t fc_save_pages(const struct vmm_body *b, int to_fd, struct mvm_error *err)
{
	const struct fc_body *f = (const struct fc_body *)b;
	return f ? vmm_memory_save(b->process.pid, f->memory_fd, to_fd, err) : no_firecracker(err);
}

int fc_load_pages(const struct vmm_body *b, int from_fd, struct mvm_error *err)
{
	const struct fc_body *f = (const struct fc_body *)b;
	return f ? vmm_memory_load(b->process.pid, f->memory_fd, from_fd, err)
		 : no_firecracker(err);
}

int fc_finish_state(const struct vmm_body *b, int base_fd, int raw_fd, int to_fd,
		    struct mvm_error *err)
{
	const struct fc_body *f = (const struct fc_body *)b;
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	(void)base_fd;
	(void)raw_fd;
	int r = f ? fc_read_state(f->folder.fd, FC_DEVICES_FILE, &text, &len, err)
		  : no_firecracker(err);
	if (r < 0)
		return r;
	r = file_write_all(to_fd, text, len);
	return r < 0 ? mvm_error_set(err, r, "cannot write the device state: %s", strerror(-r)) : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state passes through the working folder, where Firecracker writes and reads it under the
 * one name that it knows.  mvm copies it to and from the snapshot's folder and checks the copy, so
 * the bytes that it stores or loads are the ones that it has checked.  Firecracker, which has run
 * an untrusted guest, owns the working folder: its file there may be a link to anywhere.
 *
 * fc_move_state() does that, for a supervisor of two processes in the one with the rights.  Of the
 * bytes it looks only at the checksum; Firecracker itself says of which format they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "vmm/ask.h"
#include "vmm/firecracker/firecracker.h"

#define STATE_MAX (64u << 20)
#define ASK_MS	  30000

int fc_read_state(int dir_fd, const char *name, char **ret, size_t *ret_len, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	int r = file_read_below(dir_fd, name, STATE_MAX, &text, &len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", name, strerror(-r));
	if (len < 8 || crc64_jones(0, text, len) != 0)
		return mvm_error_set(err, -EBADMSG, "'%s' is damaged: its checksum is wrong", name);
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

/* Does a folder's device state have the format of this Firecracker?  Ask the program. */
static int check_format(const struct fc_body *f, int dir_fd, int64_t deadline_ns,
			struct mvm_error *err)
{
	char text[ASK_TEXT_MAX];
	size_t len = 0;
	char *const argv[] = { f->binary, (char[]){ "--describe-snapshot" },
			       (char[]){ FC_STATE_FILE }, NULL };
	int r = program_ask(argv, dir_fd, deadline_ns, NULL, text);
	if (r < 0)
		return mvm_error_set(err, r, "cannot ask Firecracker for the snapshot's format: %s",
				     strerror(-r));
	const char *format = fc_format_of(text, &len);
	if (!format || !f->state_format || strlen(f->state_format) != len ||
	    memcmp(format, f->state_format, len) != 0)
		return mvm_error_set(
			err, -EPROTO, "the snapshot's format is not Firecracker's '%s' but '%.*s'",
			f->state_format ? f->state_format : "", (int)strcspn(text, "\n"), text);
	return 0;
}

static int store_state(const struct fc_body *f, int dir_fd, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	int r = fc_read_state(f->folder.fd, FC_STATE_FILE, &text, &len, err);
	if (r < 0)
		return r;
	r = file_create_at(dir_fd, FC_STATE_FILE, text, len, 0600); /* whole, or not at all */
	if (r < 0)
		return mvm_error_set(err, r, "cannot create '" FC_STATE_FILE "': %s", strerror(-r));
	r = check_format(f, dir_fd, clock_deadline_ns(ASK_MS), err);
	if (r < 0) /* the first failure is the one to report */
		unlinkat(dir_fd, FC_STATE_FILE, 0);
	return r;
}

static int lay_state(const struct fc_body *f, int dir_fd, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	int r = fc_read_state(dir_fd, FC_STATE_FILE, &text, &len, err);
	if (r < 0)
		return r;
	r = file_replace_unsynced_at(f->folder.fd, FC_STATE_FILE, text, len, 0644);
	return r < 0 ? mvm_error_set(err, r, "cannot hand over '" FC_STATE_FILE "': %s",
				     strerror(-r))
		     : 0;
}

int fc_move_state(struct vmm_body *b, int dir_fd, bool store, struct mvm_error *err)
{
	const struct fc_body *f = (const struct fc_body *)b;
	if (!store)
		return lay_state(f, dir_fd, err);
	int r = store_state(f, dir_fd, err);
	unlinkat(f->folder.fd, FC_STATE_FILE, 0); /* or its folder's removal takes it */
	return r;
}

/* By the keeper, if this process may not open the state itself. */
static int move_state(struct firecracker *f, int dir_fd, bool store, struct mvm_error *err)
{
	return f->keeper.move_state ? f->keeper.move_state(f->keeper.arg, store, err)
				    : fc_move_state(f->keeper.arg, dir_fd, store, err);
}

int fc_snapshot(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct firecracker *f = (struct firecracker *)v;
	/* check this before the memory file is touched: it belongs to the existing state */
	if (dir_fd >= 0 && faccessat(dir_fd, FC_STATE_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return mvm_error_set(err, -EEXIST, "cannot create '" FC_STATE_FILE "': %s",
				     strerror(EEXIST));
	bool swaps = f->keeper.host_swaps(f->keeper.arg);
	int r = fc_act(f, swaps ? FC_SNAPSHOT_FULL : FC_SNAPSHOT_DIFF, deadline_ns, err);
	f->keeper.take_back(f->keeper.arg);
	return r < 0 ? r : move_state(f, dir_fd, true, err);
}

int fc_map_memory(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct firecracker *f = (struct firecracker *)v;
	int r = move_state(f, dir_fd, false, err);
	if (r == 0)
		r = fc_act(f, FC_LOAD_PAUSED, deadline_ns, err);
	f->loaded = r == 0;
	v->loaded_ns = clock_now_ns();
	return r;
}

int fc_restore(struct vmm *v, int dir_fd, int64_t deadline_ns, struct mvm_error *err)
{
	struct firecracker *f = (struct firecracker *)v;
	AUTO_DONE(fc_requests) requests = { 0 };
	int r = f->loaded ? 0 : move_state(f, dir_fd, false, err);
	if (r == 0)
		r = fc_requests_run(f->loaded ? FC_RESUME : FC_LOAD, f->network ? &f->rate : NULL,
				    &requests, err);
	if (r == 0)
		r = fc_do(f, &requests, deadline_ns, err);
	if (r == 0 && f->loaded)
		r = fc_halt_process(f, VMM_HALT_OFF, err);
	if (r > 0) /* its network was not quiet */
		r = 0;
	if (r == 0)
		r = f->keeper.seal(f->keeper.arg, err);
	if (r < 0)
		return r;
	v->resumed_ns = clock_now_ns();
	if (!f->loaded)
		v->loaded_ns = v->resumed_ns; /* FC_LOAD does both */
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Continue a VM from its saved state (instance/saved.h), or start a fork from one. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "instance/saved.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"

void continue_close(struct warden *w)
{
	auto_close(&w->saved_dir_fd);
	w->saved_dir_fd = -1;
}

static int begin(const struct warden *w, const struct saved *info, struct mvm_error *err)
{
	int r = saved_begin(w->saved_dir_fd, info);
	return r < 0 ? mvm_error_set(err, r, "cannot mark the saved state as being resumed: %s",
				     strerror(-r))
		     : 0;
}

int continue_open(struct warden *w, struct mvm_error *err)
{
	AUTO_DONE(saved) info = { 0 };
	bool fork = w->record.continues == RECORD_CONTINUES_FORK;
	const char *base = mvm_snapshot_info_compat(&w->revision.snapshot, "nonce_sha256");
	if (w->record.continues == RECORD_CONTINUES_NOTHING) {
		if (!w->suspended && saved_is_there(instance_fd(w)))
			saved_forget(instance_fd(w)); /* a cold start was asked for instead */
		return 0;
	}
	w->suspended = !fork && saved_is_there(instance_fd(w));
	if (!w->ops->load_pages)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s cannot continue a VM",
				     w->ops->name);
	/* a fork's file descriptor is for the folder itself */
	if (fork)
		w->saved_dir_fd = fcntl(w->given->fd[SUPERVISOR_FD_CAPTURE], F_DUPFD_CLOEXEC, 3);
	else
		w->saved_dir_fd = w->suspended ? dir_open_at(instance_fd(w), SAVED_DIR) : -ENOENT;
	if (w->saved_dir_fd == -ENOENT || (fork && w->saved_dir_fd < 0))
		return mvm_error_set(err, -EBADMSG, "its saved state is missing");
	if (w->saved_dir_fd < 0)
		return mvm_error_set(err, w->saved_dir_fd, "cannot open its saved state: %s",
				     strerror(-w->saved_dir_fd));
	int r = saved_read(w->saved_dir_fd, &info, err);
	if (r == 0)
		r = saved_check(w->saved_dir_fd, &info, base, err);
	if (r == 0 && !fork && !str_eq(info.machine_id, w->record.machine_id))
		r = mvm_error_set(err, -EBADMSG, "its saved state is that of another instance");
	if (r == 0 && !fork)
		r = begin(w, &info, err);
	if (r == 0)
		snprintf(w->saved_nonce_sha256, sizeof(w->saved_nonce_sha256), "%s",
			 info.nonce_sha256);
	return r;
}

int continue_answer_load(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	if (w->saved_dir_fd < 0)
		return mvm_error_set(err, -EPROTO, "this VM continues nothing");
	AUTO_CLOSE int fd = openat(w->saved_dir_fd, SAVED_PAGES, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open " SAVED_PAGES ": %s",
				     strerror(errno));
	wire_put_str(&ret->fields, TAG_TEXT, w->saved_nonce_sha256);
	return w->ops->load_pages(w->body, fd, err);
}

/* Take the state's name away, once the guest's processes run and before anybody hears of them: no
 * state may have effects twice.  If this fails, the VM stays suspended and is ended. */
static int take(struct warden *w, struct mvm_error *err)
{
	if (w->record.continues != RECORD_CONTINUES_SUSPENDED)
		return 0;
	if (w->taken[0]) /* the folder of the first one would stay, with all of a VM's memory */
		return mvm_error_set(err, -EPROTO, "the saved state has been taken already");
	int r = rename_unique_at(instance_fd(w), SAVED_DIR, instance_fd(w), SAVED_SAVING, w->taken);
	bool renamed = r == 0;
	if (renamed)
		r = dir_sync(instance_fd(w));
	/* as in publish(); if the old name does not come back, the state is taken */
	if (r < 0 && renamed &&
	    renameat2(instance_fd(w), w->taken, instance_fd(w), SAVED_DIR, RENAME_NOREPLACE) < 0)
		r = 0;
	if (r < 0) {
		w->taken[0] = '\0';
		return mvm_error_set(err, r, "cannot take the saved state: %s", strerror(-r));
	}
	w->suspended = w->config.network_held = false;
	return 0;
}

static void forget(struct warden *w)
{
	if (w->taken[0])
		tree_remove_at(instance_fd(w), w->taken);
	w->taken[0] = '\0';
	w->record.continues = RECORD_CONTINUES_NOTHING;
	continue_close(w);
}

int continue_answer_use(struct warden *w, uint64_t how, struct mvm_error *err)
{
	switch ((enum warden_use)how) {
	case USE_TAKE:
		return take(w, err);
	case USE_FORGET:
		forget(w);
		return 0;
	case USE_DISCARD:
		w->suspended = false;
		saved_forget(instance_fd(w));
		return 0;
	}
	return -EINVAL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "template/holder.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/own.h"
#include "instance/folder.h"
#include "instance/instance.h"
#include "instance/saved.h"
#include "start/context.h"

/* Does this instance need it?  1, 0 or -errno. */
static int needs(int instances_fd, const char *name, const char *id, const char *revision,
		 struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	AUTO_CLOSE int dir_fd = dir_open_at(instances_fd, name);
	if (dir_fd < 0 || !saved_is_there(dir_fd)) /* most have no state, and this is cheap */
		return dir_fd == -EMFILE || dir_fd == -ENFILE || dir_fd == -ENOMEM ? dir_fd : 0;
	int r = instance_load(instances_fd, name, &rec, NULL, err);
	if (r == -ENOENT || r == -EBADMSG) /* no resume can use its state */
		return 0;
	if (r < 0)
		return r;
	bool has_ended = record_is_over(&rec) && rec.state != RECORD_SUSPENDED;
	return !has_ended && str_eq(rec.template_id, id) &&
	       (!revision || str_eq(rec.revision, revision));
}

static int find(int instances_fd, const char *id, const char *revision, char **ret,
		struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	/* without it, a rename could hide an instance from the list */
	AUTO_CLOSE int gate_fd = instance_folder_close_gate(instances_fd);
	int r = gate_fd < 0 ? gate_fd : dir_list(instances_fd, &names);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		r = needs(instances_fd, names.v[i], id, revision, err);
		if (r <= 0)
			continue;
		*ret = strdup(names.v[i]);
		return *ret ? 0 : -ENOMEM;
	}
	return r;
}

int holder_find(struct mvm *mvm, const char *id, const char *revision, char **ret,
		struct mvm_error *err)
{
	struct mvm_error why = { 0 };
	*ret = NULL;
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	int r = fd < 0 ? fd : find(fd, id, revision, ret, &why);
	if (store_dir_is_missing(fd)) /* there are no instances */
		return 0;
	return r < 0 ? mvm_error_set(err, r,
				     "cannot tell whether a suspended instance needs it: %s",
				     why.code == r ? why.text : strerror(-r))
		     : 0;
}

int holder_check(struct mvm *mvm, const char *id, const char *revision, struct mvm_error *err)
{
	AUTO_FREE char *holder = NULL;
	int r = holder_find(mvm, id, revision, &holder, err);
	if (r < 0 || !holder)
		return r;
	r = mvm_error_set(err, -EBUSY, "instance '%s' is suspended and needs it to go on", holder);
	return mvm_error_reason(err, r, "instance-in-the-way", holder);
}

int holder_publish(struct mvm *mvm, struct staging *st, const char *id, const char *revision,
		   struct mvm_error *err)
{
	AUTO_CLOSE int claim = store_claim_snapshot(mvm->store, id, revision);
	if (claim < 0)
		return mvm_error_set(err, claim, "cannot replace its snapshot: %s",
				     claim == -EBUSY ? "an instance that needs it is suspended at "
						       "this moment"
						     : strerror(-claim));
	int r = holder_check(mvm, id, revision, err);
	return r < 0 ? r : store_revision_publish(mvm->store, st, id, revision, err);
}

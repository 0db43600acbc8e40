/* SPDX-License-Identifier: Apache-2.0 */
/* List, inspect and remove named volumes (mvm/volume.h). */
#include <errno.h>
#include <fcntl.h>
#include <mvm/volume.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "instance/copy.h"
#include "instance/volume.h"
#include "model/name.h"
#include "start/context.h"
#include "start/volume_mark.h"

void mvm_volume_info_free(struct mvm_volume_info *info)
{
	if (!info)
		return;
	free(info->name);
	free(info->path);
	free(info->problem);
	free(info);
}
DEFINE_AUTO(mvm_volume_info, mvm_volume_info_free)
DEFINE_LIST_FREE(mvm_volume_list_free, mvm_volume_info, mvm_volume_info_free)

static int no_volume(const char *name, int code, struct mvm_error *err)
{
	if (code != -ENOENT)
		return mvm_error_set(err, code, "volume '%s': %s", name, strerror(-code));
	mvm_error_set(err, code, "there is no volume '%s'", name);
	return mvm_error_reason(err, code, "no-volume", name);
}

static int look_up(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
		   struct mvm_volume_info **ret, struct mvm_error *err)
{
	int fd = store_dir(mvm->store, STORE_VOLUMES);
	int r = name_check(NAME_VOLUME, name, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int dir_fd = fd < 0 ? fd : dir_open_at(fd, name);
	if (dir_fd < 0)
		return no_volume(name, dir_fd, err);
	AUTO(mvm_volume_info) info = calloc(1, sizeof(*info));
	if (!info)
		return mvm_error_oom(err);
	info->name = strdup(name);
	AUTO_FREE char *path = str_printf("%s/volumes/%s", store_path(mvm->store), name);
	info->path = path ? realpath(path, NULL) : NULL;
	if (!info->name || !info->path)
		return mvm_error_oom(err);
	info->bytes = copy_tree_bytes(info->path, false, progress);
	r = progress_check(progress, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int lock_fd = volume_lock(info->path);
	info->in_use = lock_fd == -EBUSY;
	*ret = TAKE_PTR(info);
	return 0;
}

int mvm_volume_inspect(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
		       struct mvm_volume_info **ret, struct mvm_error *err)
{
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	return r < 0 ? r : look_up(mvm, name, progress, ret, err);
}

/* Make a list's entry for a volume that cannot be read. 1; 0 if it is no volume or was just
 * removed; or -ENOMEM. */
static int unreadable(const char *name, int r, const struct mvm_error *why,
		      struct mvm_volume_info **ret)
{
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EINVAL)
		return 0;
	AUTO(mvm_volume_info) info = r == -ENOMEM ? NULL : calloc(1, sizeof(*info));
	bool failed = !info;
	if (info) {
		info->name = str_dup(name, &failed);
		info->path = str_dup("", &failed);
		info->problem = str_dup(why->text, &failed);
	}
	if (failed)
		return -ENOMEM;
	*ret = TAKE_PTR(info);
	return 1;
}

int mvm_volume_list(struct mvm *mvm, const struct mvm_progress *progress,
		    struct mvm_volume_info ***ret, size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	struct progress_watch watch;
	size_t n = 0;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = store_dir_names(mvm->store, STORE_VOLUMES, &names, err);
	if (r < 0)
		return r;
	struct mvm_volume_info **list = calloc(names.n + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	for (size_t i = 0; i < names.n; i++) {
		struct mvm_error why;
		r = look_up(mvm, names.v[i], progress, &list[n], &why);
		if (r == -ECANCELED) {
			mvm_volume_list_free(list, n);
			return mvm_error_hand_on(err, &why);
		}
		r = r < 0 ? unreadable(names.v[i], r, &why, &list[n]) : 1;
		if (r < 0) {
			mvm_volume_list_free(list, n);
			return mvm_error_oom(err);
		}
		n += r > 0;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

/* Remove an unmarked folder if it is empty: a start that was killed leaves such a one. */
static int remove_unmarked(int volumes_fd, const struct mvm_volume_info *info,
			   struct mvm_error *err)
{
	if (unlinkat(volumes_fd, info->name, AT_REMOVEDIR) == 0)
		return 0;
	int r = -errno;
	if (r != -ENOTEMPTY && r != -EEXIST)
		return mvm_error_set(err, r, "cannot remove volume '%s': %s", info->name,
				     strerror(-r));
	mvm_error_set(err, -EEXIST,
		      "'volumes/%s' in the data folder is no volume of mvm: no VM has used it by "
		      "this name",
		      info->name);
	return mvm_error_reason(err, -EEXIST, "volume-foreign", info->path);
}

static int go_on(const void *progress)
{
	return progress_go_on(progress, NULL);
}

int mvm_volume_remove(struct mvm *mvm, const char *name, const struct mvm_progress *progress,
		      struct mvm_error *err)
{
	AUTO(mvm_volume_info) info = NULL;
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r < 0)
		return r;
	r = look_up(mvm, name, progress, &info, err);
	if (r < 0)
		return r;
	/* hold the lock during the removal, so that no VM begins to use the volume */
	AUTO_CLOSE int lock_fd = volume_lock(info->path);
	if (lock_fd < 0)
		return volume_lock_failed(name, lock_fd, err);
	int volumes_fd = store_dir(mvm->store, STORE_VOLUMES);
	if (!volume_is_marked(volumes_fd, name))
		return remove_unmarked(volumes_fd, info, err);
	r = tree_remove_while_at(volumes_fd, name, go_on, progress);
	if (r == -ECANCELED)
		return mvm_error_set(
			err, r, "removing volume '%s' was cancelled: some of it is left", name);
	if (r < 0)
		return mvm_error_set(err, r, "cannot remove volume '%s': %s", name, strerror(-r));
	volume_unmark(volumes_fd, name);
	return 0;
}

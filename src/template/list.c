/* SPDX-License-Identifier: Apache-2.0 */
/* template list */
#include <errno.h>
#include <fcntl.h>
#include <mvm/store.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "model/name.h"
#include "start/context.h"
#include "store/revision.h"
#include "template/list_index.h"

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)
DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)

int mvm_template_exists(struct mvm *mvm, const char *id, struct mvm_error *err)
{
	return store_template_exists(mvm->store, id, err);
}

struct listing {
	struct mvm *mvm;
	int templates_fd;
	struct list_index *index;
	int64_t racy_ns;
	mvm_template_fn fn;
	void *arg;
};

/* ---- is a recorded row still true? ---- */

#define PATH_SIZE (MVM_TEMPLATE_ID_SIZE + MVM_REVISION_SIZE + 48)

static void key_of(const struct listing *l, const char *path, struct list_key *ret)
{
	struct stat st;

	*ret = (struct list_key){ 0 };
	if (fstatat(l->templates_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return; /* no file has this key */
	ret->ino = st.st_ino;
	ret->size = (uint64_t)st.st_size;
	ret->mtime_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
	ret->ctime_ns = st.st_ctim.tv_sec * NS_PER_S + st.st_ctim.tv_nsec;
}

static void spec_key(const struct listing *l, const char *id, struct list_key *ret)
{
	char path[PATH_SIZE];
	stpcpy(stpcpy(path, id), "/template.json");
	key_of(l, path, ret);
}

static void revision_key(const struct listing *l, const char *id, const char *revision,
			 struct list_key *ret)
{
	char path[PATH_SIZE];
	stpcpy(stpcpy(stpcpy(stpcpy(path, id), "/artifacts/"), revision), "/revision.json");
	key_of(l, path, ret);
}

static bool same_key(const struct list_key *a, const struct list_key *b)
{
	return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

static bool is_fresh(const struct listing *l, const struct list_record *r)
{
	char current[MVM_REVISION_SIZE] = "";
	struct list_key key;

	spec_key(l, r->id, &key);
	if (!same_key(&key, &r->spec))
		return false;
	int e = store_current_get(l->mvm->store, r->id, current, NULL);
	if ((e < 0 && e != -ENOENT) || strcmp(current, r->current) != 0)
		return false;
	if (e == -ENOENT)
		return true; /* still not built */
	revision_key(l, r->id, current, &key);
	return same_key(&key, &r->revision);
}

/* ---- reading a template's files ---- */

/* Returns 0, -ENOENT when there is no such template, -EAGAIN when it changed while it was read, or
 * what is wrong with it. */
static int read_once(const struct listing *l, const char *id, struct list_record *to,
		     struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	struct store *s = l->mvm->store;

	stpcpy(to->id, id);
	spec_key(l, id, &to->spec);
	int r = store_spec_load(s, id, &spec, err);
	if (r < 0)
		return r;
	snprintf(to->role, sizeof(to->role), "%s", spec.role);
	snprintf(to->profile, sizeof(to->profile), "%s", spec.profile);
	to->vcpus = spec.vcpus;
	to->mem_mib = spec.mem_mib;
	to->data_disk_mib = spec.data_disk_mib;
	to->root_disk_mib = spec.root_disk_mib;
	r = store_current_find(s, id, to->current, err);
	if (r == -ENOENT)
		return 0; /* not built yet */
	if (r < 0)
		return r;
	revision_key(l, id, to->current, &to->revision);
	r = store_revision_load(s, id, to->current, &rev, NULL, err);
	if (r == -ENOENT)
		return -EAGAIN; /* no longer current, or the template was deleted */
	to->built_at = rev.built_at;
	to->rootfs_bytes = rev.artifact_paths.sizes.rootfs_bytes;
	to->has_snapshot = rev.has_snapshot;
	to->snapshot_mem_bytes = rev.snapshot.mem_size_bytes;
	return r;
}

#define TRIES 100

static int read_template(const struct listing *l, const char *id, struct list_record *to,
			 struct mvm_error *err)
{
	int r = -EAGAIN;
	for (int i = 0; r == -EAGAIN && i < TRIES; i++) {
		*to = (struct list_record){ 0 };
		r = read_once(l, id, to, err);
	}
	return r;
}

/* May the row go into the index?  Yes if no file changed while we read it, and if a later change
 * will show in the file's times. */
static bool may_record(const struct listing *l, const struct list_record *r, int64_t now_ns)
{
	return now_ns != INT64_MIN && is_fresh(l, r) && r->spec.ctime_ns < now_ns - l->racy_ns &&
	       r->revision.ctime_ns < now_ns - l->racy_ns;
}

static int show(const struct listing *l, const struct list_record *r)
{
	const struct mvm_template_summary s = {
		.template_id = r->id,
		.role = r->role,
		.profile = r->profile,
		.vcpus = r->vcpus,
		.mem_mib = r->mem_mib,
		.data_disk_mib = r->data_disk_mib,
		.root_disk_mib = r->root_disk_mib,
		.revision = r->current[0] ? r->current : NULL,
		.built_at = r->built_at,
		.rootfs_bytes = r->rootfs_bytes,
		.has_snapshot = r->has_snapshot,
		.snapshot_mem_bytes = r->snapshot_mem_bytes,
	};
	return l->fn(l->arg, &s);
}

static int show_problem(const struct listing *l, const char *id, const struct mvm_error *why)
{
	const struct mvm_template_summary s = { .template_id = id,
						.problem = why->text,
						.problem_code = why->code };
	return l->fn(l->arg, &s);
}

static int list_one(const struct listing *l, const char *id, struct mvm_error *err)
{
	const struct list_record *known = list_index_find(l->index, id);
	struct list_record fresh;
	struct mvm_error why = { 0 };

	if (known && is_fresh(l, known)) {
		int r = show(l, known);
		list_index_keep(l->index);
		return r;
	}
	int64_t now_ns = list_index_now(l->index);
	int r = read_template(l, id, &fresh, &why);
	if (r == -ENOENT)
		return 0; /* not a template, or deleted meanwhile */
	if (r == -ENOMEM)
		return mvm_error_oom(err);
	if (r < 0)
		return show_problem(l, id, &why);
	if (may_record(l, &fresh, now_ns))
		list_index_add(l->index, &fresh);
	return show(l, &fresh);
}

int template_list(struct mvm *mvm, int64_t racy_ns, mvm_template_fn fn, void *arg,
		  struct mvm_error *err)
{
	AUTO_DONE(list_index) index = { 0 };
	AUTO_DONE(strv) names = { 0 };
	struct listing l = {
		.mvm = mvm, .index = &index, .racy_ns = racy_ns, .fn = fn, .arg = arg
	};

	int r = store_dir_names(mvm->store, STORE_TEMPLATES, &names, err);
	if (r < 0)
		return r;
	l.templates_fd = store_dir(mvm->store, STORE_TEMPLATES);
	list_index_open(mvm->store, &index);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		if (name_valid(NAME_TEMPLATE, names.v[i]))
			r = list_one(&l, names.v[i], err);
	}
	if (r == 0)
		list_index_save(&index);
	return r;
}

int mvm_template_list(struct mvm *mvm, mvm_template_fn fn, void *arg, struct mvm_error *err)
{
	return template_list(mvm, LIST_RACY_NS, fn, arg, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "template/history.h"

#include <errno.h>
#include <fcntl.h>
#include <mvm/revisions.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "model/model_json.h"
#include "store/verify.h"
#include "template/holder.h"
#include "template/spec_rules.h"

/* ---- the revisions of a template in order ---- */

void history_done(struct history *h)
{
	free(h->v);
	*h = (struct history){ 0 };
}

static int64_t mtime_ns(int templates_fd, const char *id, const char *revision, const char *file)
{
	char path[MVM_TEMPLATE_ID_SIZE + MVM_REVISION_SIZE + 32];
	struct stat st;

	snprintf(path, sizeof(path), "%s/artifacts/%s%s", id, revision, file);
	if (fstatat(templates_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
}

/* A file may name any year.  A time that does not fit becomes the nearest one that fits. */
static int64_t ns_of(int64_t seconds)
{
	if (seconds > INT64_MAX / NS_PER_S)
		return INT64_MAX;
	return seconds < INT64_MIN / NS_PER_S ? INT64_MIN : seconds * NS_PER_S;
}

static int load_entry(struct mvm *mvm, const char *id, const char *name, struct history_entry *e)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	int templates_fd = store_dir(mvm->store, STORE_TEMPLATES);

	snprintf(e->name, sizeof(e->name), "%s", name);
	e->code = store_revision_load(mvm->store, id, name, &rev, NULL, NULL);
	if (e->code == -ENOMEM || e->code == -ENOENT)
		return e->code;
	if (e->code < 0) { /* revision.json is unreadable: the folder's time is the best guess */
		e->built_ns = mtime_ns(templates_fd, id, name, "");
		e->foreign = !mtime_ns(templates_fd, id, name, "/revision.json") &&
			     !mtime_ns(templates_fd, id, name, "/checksums.json");
		return 0;
	}
	/* a build writes fc-base.json once, and snapshots only link it: its time tells apart builds
	 * within one second */
	int64_t made_ns = mtime_ns(templates_fd, id, name, "/fc-base.json");
	int64_t apart_s = made_ns / NS_PER_S - rev.built_at;
	e->built_at = rev.built_at;
	e->built_ns = apart_s >= -1 && apart_s <= 1 ? made_ns : ns_of(rev.built_at);
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct history_entry *x = a, *y = b;
	if (x->built_ns != y->built_ns)
		return x->built_ns < y->built_ns ? 1 : -1;
	return strcmp(x->name, y->name);
}

int history_load(struct mvm *mvm, const char *id, struct history *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_DONE(history) h = { 0 };

	int r = store_revision_list(mvm->store, id, &names, err);
	if (r < 0)
		return r;
	h.v = calloc(names.n + 1, sizeof(*h.v));
	if (!h.v)
		return mvm_error_oom(err);
	for (size_t i = 0; i < names.n; i++) {
		r = load_entry(mvm, id, names.v[i], &h.v[h.n]);
		if (r == -ENOMEM)
			return mvm_error_oom(err);
		if (r == 0) /* else a prune has removed it meanwhile */
			h.n++;
	}
	qsort(h.v, h.n, sizeof(*h.v), newest_first);
	/* if the link is missing or broken, no revision is current */
	if (store_current_get(mvm->store, id, h.current, NULL) < 0)
		h.current[0] = '\0';
	*ret = h;
	h = (struct history){ 0 };
	return 0;
}

/* ---- for display ---- */

void mvm_revision_summary_free(struct mvm_revision_summary *s)
{
	if (!s)
		return;
	free(s->revision);
	free(s->problem);
	free(s);
}
DEFINE_LIST_FREE(mvm_revision_list_free, mvm_revision_summary, mvm_revision_summary_free)

uint64_t revision_disk_bytes(int dir_fd)
{
	AUTO_DONE(strv) paths = { 0 };
	uint64_t bytes = 0;
	struct stat st;

	if (store_revision_files(dir_fd, &paths) < 0)
		return 0;
	for (size_t i = 0; i < paths.n; i++) {
		if (fstatat(dir_fd, paths.v[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

static int summarise(struct mvm *mvm, const char *id, const char *current,
		     const struct history_entry *e, struct mvm_revision_summary *s)
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	struct mvm_error why = { 0 };
	bool failed = false;

	int r = store_revision_load(mvm->store, id, e->name, &rev, &dir_fd, &why);
	if (r == -ENOMEM || r == -ENOENT)
		return r;
	if (r < 0) {
		s->problem = str_dup(why.text, &failed);
		dir_fd = store_revision_open(mvm->store, id, e->name, NULL);
	}
	s->revision = str_dup(e->name, &failed);
	s->current = strcmp(current, e->name) == 0;
	AUTO_FREE char *suspended = NULL;
	holder_find(mvm, id, e->name, &suspended, NULL);
	s->in_use = suspended || store_revision_in_use(mvm->store, id, e->name);
	s->built_at = rev.built_at;
	s->vcpus = rev.vcpus;
	s->mem_mib = rev.mem_mib;
	s->rootfs_bytes = rev.artifact_paths.sizes.rootfs_bytes;
	s->disk_bytes = dir_fd < 0 ? 0 : revision_disk_bytes(dir_fd);
	s->has_snapshot = rev.has_snapshot;
	s->snapshot_at = rev.snapshot.created_at;
	s->snapshot_mem_bytes = rev.snapshot.mem_size_bytes;
	return failed ? -ENOMEM : 0;
}

int mvm_template_history(struct mvm *mvm, const char *id, struct mvm_revision_summary ***ret,
			 size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(history) h = { 0 };
	size_t n = 0;

	int r = store_spec_load(mvm->store, id, &spec, err);
	if (r < 0 && r != -EBADMSG) /* its revisions may still be fine */
		return r;
	r = history_load(mvm, id, &h, err);
	if (r < 0)
		return r;
	struct mvm_revision_summary **list = calloc(h.n + 1, sizeof(*list));
	r = list ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < h.n; i++) {
		struct mvm_revision_summary *s = calloc(1, sizeof(*s));
		r = s ? summarise(mvm, id, h.current, &h.v[i], s) : -ENOMEM;
		if (r == 0)
			list[n++] = s;
		else
			mvm_revision_summary_free(s);
		if (r == -ENOENT)
			r = 0; /* pruned meanwhile */
	}
	if (r < 0) {
		mvm_revision_list_free(list, n);
		return mvm_error_oom(err);
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

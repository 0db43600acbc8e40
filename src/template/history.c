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
#include "template/spec_rules.h"

/* ---- the revisions of a template in order ---- */

void history_done(struct history *h)
{
	for (size_t i = 0; i < h->n; i++) {
		mvm_template_revision_done(&h->v[i].rev);
		free(h->v[i].problem);
	}
	free(h->v);
	*h = (struct history){ 0 };
}

/* fc-base.json is written once, when the revision is built, and only linked afterwards: it tells
 * apart builds of one second. */
static int64_t built_ns(int dir_fd, int64_t built_at)
{
	struct stat st;
	if (fstatat(dir_fd, "fc-base.json", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_mtim.tv_sec - built_at <= 1 && built_at - st.st_mtim.tv_sec <= 1)
		return st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
	return built_at * NS_PER_S;
}

static int load_entry(struct mvm *mvm, const char *id, const char *name, struct history_entry *e,
		      struct mvm_error *err)
{
	struct mvm_error why = { 0 };
	AUTO_CLOSE int dir_fd = -1;
	struct stat st;

	(void)snprintf(e->name, sizeof(e->name), "%s", name);
	int r = store_revision_load(mvm->store, id, name, &e->rev, &dir_fd, &why);
	if (r == 0) {
		e->built_ns = built_ns(dir_fd, e->rev.built_at);
		return 0;
	}
	if (r == -ENOMEM || r == -ENOENT)
		return r == -ENOMEM ? mvm_error_oom(err) : r;
	e->code = r;
	e->problem = strdup(why.text);
	if (!e->problem)
		return mvm_error_oom(err);
	dir_fd = store_revision_open(mvm->store, id, name, NULL);
	if (dir_fd >= 0 && fstat(dir_fd, &st) == 0) /* as good a guess as there is */
		e->built_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
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
	struct mvm_error ignored;

	int r = store_revision_list(mvm->store, id, &names, err);
	if (r < 0)
		return r;
	h.v = calloc(names.n + 1, sizeof(*h.v));
	if (!h.v)
		return mvm_error_oom(err);
	for (size_t i = 0; i < names.n; i++) {
		r = load_entry(mvm, id, names.v[i], &h.v[h.n], err);
		if (r == -ENOENT) /* pruned meanwhile */
			continue;
		h.n++;
		if (r < 0)
			return r;
	}
	qsort(h.v, h.n, sizeof(*h.v), newest_first);
	/* none, or a link that leads nowhere, is the same here: no revision is current */
	if (store_current_get(mvm->store, id, h.current, &ignored) < 0)
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

static struct mvm_revision_summary *summarise(struct mvm *mvm, const char *id,
					      const struct history *h, struct history_entry *e)
{
	struct mvm_revision_summary *s = calloc(1, sizeof(*s));
	AUTO_CLOSE int dir_fd = store_revision_open(mvm->store, id, e->name, NULL);

	if (!s)
		return NULL;
	*s = (struct mvm_revision_summary){
		.revision = strdup(e->name),
		.current = strcmp(h->current, e->name) == 0,
		.in_use = store_revision_in_use(mvm->store, id, e->name),
		.built_at = e->problem ? 0 : e->rev.built_at,
		.vcpus = e->rev.vcpus,
		.mem_mib = e->rev.mem_mib,
		.rootfs_bytes = e->rev.artifact_paths.sizes.rootfs_bytes,
		.disk_bytes = dir_fd < 0 ? 0 : revision_disk_bytes(dir_fd),
		.has_snapshot = e->rev.has_snapshot,
		.snapshot_at = e->rev.snapshot.created_at,
		.snapshot_mem_bytes = e->rev.snapshot.mem_size_bytes,
		.problem = TAKE_PTR(e->problem),
	};
	if (!s->revision) {
		mvm_revision_summary_free(s);
		return NULL;
	}
	return s;
}

int mvm_template_history(struct mvm *mvm, const char *id, struct mvm_revision_summary ***ret,
			 size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_DONE(history) h = { 0 };

	int r = store_spec_load(mvm->store, id, &spec, err);
	if (r < 0 && r != -EBADMSG) /* its revisions may still be fine */
		return r;
	r = history_load(mvm, id, &h, err);
	if (r < 0)
		return r;
	struct mvm_revision_summary **list = calloc(h.n + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	for (size_t i = 0; i < h.n; i++) {
		list[i] = summarise(mvm, id, &h, &h.v[i]);
		if (list[i])
			continue;
		while (i)
			mvm_revision_summary_free(list[--i]);
		free(list);
		return mvm_error_oom(err);
	}
	*ret = list;
	*ret_n = h.n;
	return 0;
}

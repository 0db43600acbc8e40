/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <mvm/revisions.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/progress.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "model/model_json.h"
#include "start/context.h"
#include "store/revision.h"

#define DEPTH_MAX 8

void mvm_template_diff_free(struct mvm_template_diff *d)
{
	for (size_t i = 0; d && i < d->n_artifacts; i++) {
		free(d->artifacts[i]->name);
		free(d->artifacts[i]->from);
		free(d->artifacts[i]->to);
		free(d->artifacts[i]);
	}
	for (size_t i = 0; d && i < d->n_settings; i++) {
		free(d->settings[i]->key);
		free(d->settings[i]->from);
		free(d->settings[i]->to);
		free(d->settings[i]);
	}
	if (d) {
		free(d->artifacts);
		free(d->settings);
	}
	free(d);
}
DEFINE_AUTO(mvm_template_diff, mvm_template_diff_free)

/* The data of one revision that is compared. */
struct side {
	int dir_fd;
	struct mvm_template_revision rev;
	struct checksums sums;
	json_t *json;
};
#define SIDE_NONE                                                                                  \
	{                                                                                          \
		.dir_fd = -1                                                                       \
	}

static void side_done(struct side *s)
{
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	mvm_template_revision_done(&s->rev);
	checksums_done(&s->sums);
	json_decref(s->json);
}
DEFINE_AUTO_DONE(side, side_done)

static int load_side(struct mvm *mvm, const char *ref, char ret_id[MVM_TEMPLATE_ID_SIZE],
		     char ret_revision[MVM_REVISION_SIZE], const struct mvm_progress *progress,
		     struct side *ret, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	struct json_out out = { 0 };

	int r = store_template_resolve(mvm->store, ref, ret_id, ret_revision, err);
	if (r == 0)
		r = store_revision_load(mvm->store, ret_id, ret_revision, &ret->rev, &ret->dir_fd,
					err);
	if (r == 0)
		r = store_checksums_read(ret->dir_fd, &ret->sums, err);
	if (r == -ENOENT && ret->dir_fd >= 0) { /* another program's revision may lack it */
		progress_begin(&step, progress, "reading %s", ref);
		r = store_checksums_make(ret->dir_fd, NULL, 0, &step, &ret->sums, err);
		if (r == 0)
			progress_end(&step, NULL);
	}
	if (r == 0)
		r = progress_check(progress, err);
	if (r < 0)
		/* an error with a reason names the template itself */
		return err && err->reason[0] ? r : mvm_error_context(err, r, "%s", ref);
	ret->json = template_revision_json(&out, &ret->rev);
	return ret->json && !out.failed ? 0 : mvm_error_oom(err);
}

/* ---- files ---- */

static void describe_file(const struct side *s, const char *path, char **ret_hex,
			  uint64_t *ret_bytes, bool *failed)
{
	const struct mvm_digest *digest = checksums_find(&s->sums, path);
	char hex[DIGEST_HEX_SIZE];
	struct stat st;

	if (!digest)
		return;
	digest_hex(digest, hex);
	*ret_hex = str_dup(hex, failed);
	if (fstatat(s->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		*ret_bytes = (uint64_t)st.st_size;
}

static int compare_files(const struct side *a, const struct side *b, struct mvm_template_diff *d,
			 struct mvm_error *err)
{
	AUTO_DONE(strv) paths = { 0 };
	bool failed = false;

	/* names come from the folders: no file is opened because checksums.json lists it */
	if (store_revision_files(a->dir_fd, &paths) < 0)
		return mvm_error_set(err, -EIO, "cannot list the revision's files");
	AUTO_DONE(strv) more = { 0 };
	if (store_revision_files(b->dir_fd, &more) < 0)
		return mvm_error_set(err, -EIO, "cannot list the revision's files");
	for (size_t i = 0; i < more.n; i++) {
		if (!strv_has(&paths, more.v[i]))
			strv_add(&paths, more.v[i]);
	}
	strv_sort(&paths);
	d->artifacts = calloc(paths.n + 1, sizeof(*d->artifacts));
	if (!d->artifacts || paths.failed)
		return mvm_error_oom(err);
	for (size_t i = 0; i < paths.n; i++) {
		const struct mvm_digest *x = checksums_find(&a->sums, paths.v[i]);
		const struct mvm_digest *y = checksums_find(&b->sums, paths.v[i]);
		if ((!x && !y) || (x && y && digest_equal(x, y)))
			continue;
		struct mvm_diff_artifact *to = calloc(1, sizeof(*to));
		if (!to)
			return mvm_error_oom(err);
		d->artifacts[d->n_artifacts++] = to;
		to->name = str_dup(paths.v[i], &failed);
		describe_file(a, paths.v[i], &to->from, &to->from_bytes, &failed);
		describe_file(b, paths.v[i], &to->to, &to->to_bytes, &failed);
	}
	return failed ? mvm_error_oom(err) : 0;
}

/* ---- settings ---- */

/* Keys that differ between any two revisions, or that the files show already. */
static bool is_left_out(const char *key)
{
	static const char *const keys[] = { "revision_hash", "built_at", "artifact_paths.sizes",
					    "snapshot.compat" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(keys); i++) {
		if (strcmp(keys[i], key) == 0)
			return true;
	}
	return false;
}

static char *value_text(json_t *value, bool *failed)
{
	if (!value)
		return NULL;
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	*failed = *failed || !text;
	return text;
}

static bool add_setting(struct mvm_template_diff *d, const char *key, json_t *from, json_t *to)
{
	bool failed = false;
	struct mvm_diff_setting **grown = reallocarray(d->settings, d->n_settings + 1,
						       sizeof(*grown));
	if (!grown)
		return false;
	d->settings = grown;
	struct mvm_diff_setting *s = calloc(1, sizeof(*s));
	if (!s)
		return false;
	grown[d->n_settings++] = s;
	s->key = str_dup(key, &failed);
	s->from = value_text(from, &failed);
	s->to = value_text(to, &failed);
	return !failed;
}

static bool compare_values(const char *key, json_t *from, json_t *to, unsigned depth,
			   struct mvm_template_diff *d);

/* Compare the members of both objects, those of `from` first.  Either object may be NULL. */
static bool compare_members(const char *prefix, json_t *from, json_t *to, unsigned depth,
			    struct mvm_template_diff *d)
{
	json_t *sides[] = { from, to };
	const char *name;
	json_t *value;

	for (size_t i = 0; i < 2; i++) {
		json_object_foreach(sides[i], name, value)
		{
			AUTO_FREE char *key = str_printf("%s%s%s", prefix, *prefix ? "." : "",
							 name);
			if (!key)
				return false;
			if ((i == 1 && json_object_get(from, name)) || is_left_out(key))
				continue;
			if (!compare_values(key, json_object_get(from, name),
					    json_object_get(to, name), depth, d))
				return false;
		}
	}
	return true;
}

static bool compare_values(const char *key, json_t *from, json_t *to, unsigned depth,
			   struct mvm_template_diff *d)
{
	if (json_is_null(from))
		from = NULL;
	if (json_is_null(to))
		to = NULL;
	bool objects = (!from || json_is_object(from)) && (!to || json_is_object(to));
	if (!from && !to)
		return true;
	if (objects && depth < DEPTH_MAX)
		return compare_members(key, from, to, depth + 1, d);
	return json_equal(from, to) || add_setting(d, key, from, to);
}

int mvm_template_diff(struct mvm *mvm, const char *from, const char *to,
		      const struct mvm_progress *progress, struct mvm_template_diff **ret,
		      struct mvm_error *err)
{
	AUTO(mvm_template_diff) d = calloc(1, sizeof(*d));
	AUTO_DONE(side) a = SIDE_NONE;
	AUTO_DONE(side) b = SIDE_NONE;
	struct progress_watch watch;

	if (!d)
		return mvm_error_oom(err);
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = load_side(mvm, from, d->from_id, d->from_revision, progress, &a, err);
	if (r == 0)
		r = load_side(mvm, to, d->to_id, d->to_revision, progress, &b, err);
	if (r == 0)
		r = compare_files(&a, &b, d, err);
	if (r < 0)
		return r;
	if (!compare_members("", a.json, b.json, 0, d))
		return mvm_error_oom(err);
	*ret = TAKE_PTR(d);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "model/read.h"
#include "store/revision.h"
#include "store/trust.h"

#define CHECKSUMS_MAX ((size_t)1024 * 1024)
#define DEPTH_MAX     8
#define REVISION      "revision.json"
#define REVISION_KEY  "revision_sha256"

static int list_below(int fd, const char *prefix, unsigned depth, struct strv *ret)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(fd, &names);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		AUTO_CLOSE int below = dir_open_at(fd, names.v[i]);
		if (below == -ENOTDIR || below == -ELOOP) {
			strv_addf(ret, "%s%s", prefix, names.v[i]);
			continue;
		}
		AUTO_FREE char *path = str_printf("%s%s/", prefix, names.v[i]);
		if (!path)
			return -ENOMEM;
		if (below < 0)
			r = below;
		else
			r = depth == 0 ? -ELOOP : list_below(below, path, depth - 1, ret);
	}
	if (r < 0)
		return r;
	return ret->failed ? -ENOMEM : 0;
}

int store_revision_files(int dir_fd, struct strv *ret)
{
	AUTO_DONE(strv) all = { 0 };
	int r = list_below(dir_fd, "", DEPTH_MAX, &all);
	if (r < 0)
		return r;
	for (size_t i = 0; i < all.n; i++) {
		if (strcmp(all.v[i], "checksums.json") != 0 && strcmp(all.v[i], REVISION) != 0 &&
		    strcmp(all.v[i], STORE_VERIFIED) != 0)
			strv_add(ret, all.v[i]);
	}
	strv_sort(ret);
	return ret->failed ? -ENOMEM : 0;
}

static int digest_file(int dir_fd, const char *path, struct progress_step *step,
		       struct mvm_digest *ret)
{
	struct stat st;
	AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? sha256_fd(fd, step, ret, NULL) : -EINVAL;
}

static const struct mvm_digest *find_known(const struct mvm_artifact *known, size_t n,
					   const char *path)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(known[i].name, path) == 0)
			return &known[i].digest;
	}
	return NULL;
}

void checksums_done(struct checksums *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->v[i].path);
	free(c->v);
	*c = (struct checksums){ 0 };
}

const struct mvm_digest *checksums_find(const struct checksums *c, const char *path)
{
	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->v[i].path, path) == 0)
			return &c->v[i].digest;
	}
	return NULL;
}

static int add_checksum(struct checksums *c, const char *path, const struct mvm_digest *digest)
{
	struct checksum *to = &c->v[c->n];
	to->path = strdup(path);
	if (!to->path)
		return -ENOMEM;
	to->digest = *digest;
	c->n++;
	return 0;
}

int store_checksums_make(int dir_fd, const struct mvm_artifact *known, size_t n_known,
			 struct progress_step *step, struct checksums *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) paths = { 0 };
	AUTO_DONE(checksums) sums = { 0 };

	int r = store_revision_files(dir_fd, &paths);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list the revision's files: %s", strerror(-r));
	sums.v = calloc(paths.n + 1, sizeof(*sums.v));
	if (!sums.v)
		return mvm_error_oom(err);
	for (size_t i = 0; i < paths.n; i++) {
		const struct mvm_digest *have = find_known(known, n_known, paths.v[i]);
		struct mvm_digest digest;
		r = have ? 0 : digest_file(dir_fd, paths.v[i], step, &digest);
		if (r == -ECANCELED)
			return mvm_error_cancelled(err, "it");
		if (r < 0)
			return mvm_error_set(err, r, "cannot read '%s': %s", paths.v[i],
					     strerror(-r));
		if (add_checksum(&sums, paths.v[i], have ? have : &digest) < 0)
			return mvm_error_oom(err);
	}
	r = digest_file(dir_fd, REVISION, NULL, &sums.revision);
	if (r < 0 && r != -ENOENT)
		return mvm_error_set(err, r, "cannot read '" REVISION "': %s", strerror(-r));
	sums.has_revision = r == 0;
	*ret = sums;
	sums = (struct checksums){ 0 };
	return 0;
}

int store_checksums_hold_revision(int dir_fd, const struct checksums *c, struct mvm_error *err)
{
	struct mvm_digest now;
	int r = c->has_revision ? digest_file(dir_fd, REVISION, NULL, &now) : 0;
	if (r < 0)
		return mvm_error_set(err, r == -ENOENT ? -EBADMSG : r,
				     "cannot read '" REVISION "': %s", strerror(-r));
	if (c->has_revision && !digest_equal(&now, &c->revision))
		return mvm_error_set(err, -EBADMSG,
				     "'" REVISION
				     "' is damaged: its digest is not the one recorded");
	return 0;
}

int store_checksums_write(int dir_fd, const char *id, const char *revision,
			  const struct mvm_artifact *known, size_t n_known,
			  struct progress_step *step, struct mvm_error *err)
{
	AUTO_DONE(checksums) sums = { 0 };
	struct json_out out = { 0 };

	int r = store_checksums_make(dir_fd, known, n_known, step, &sums, err);
	if (r < 0)
		return r;
	json_t *files = json_new(&out);
	for (size_t i = 0; i < sums.n; i++) {
		char hex[DIGEST_HEX_SIZE];
		digest_hex(&sums.v[i].digest, hex);
		json_put_string(&out, files, sums.v[i].path, hex);
	}
	json_t *o = json_new(&out);
	json_put_u64(&out, o, "schema_version", MVM_SCHEMA_VERSION);
	json_put_string(&out, o, "template_id", id);
	json_put_string(&out, o, "revision_hash", revision);
	json_put(&out, o, "files", files);
	if (sums.has_revision) {
		char hex[DIGEST_HEX_SIZE];
		digest_hex(&sums.revision, hex);
		json_put_string(&out, o, REVISION_KEY, hex); /* "files" never had this file */
	}
	AUTO_FREE char *text = NULL;
	r = json_out_text(&out, o, JSON_TEXT_PRETTY, &text, err);
	if (r < 0)
		return r;
	r = file_create_at(dir_fd, "checksums.json", text, strlen(text), 0644);
	return r < 0 ? mvm_error_set(err, r, "cannot write checksums.json: %s", strerror(-r)) : 0;
}

static int read_files(const struct json_at *files, struct checksums *ret, struct mvm_error *err)
{
	const char *path;
	json_t *value;

	ret->v = calloc(json_object_size(files->value) + 1, sizeof(*ret->v));
	if (!ret->v)
		return mvm_error_oom(err);
	json_object_foreach(files->value, path, value)
	{
		AUTO_FREE char *hex = NULL;
		struct mvm_digest digest;
		int r = json_get_string(files, path, JSON_REQUIRED, &hex, err);
		if (r < 0)
			return r;
		if (digest_parse(hex, &digest) < 0)
			return json_error(files, path, err, "is no SHA-256 digest");
		if (add_checksum(ret, path, &digest) < 0)
			return mvm_error_oom(err);
	}
	return 0;
}

static int read_revision(const struct json_at *root, struct checksums *ret, struct mvm_error *err)
{
	AUTO_FREE char *hex = NULL;
	int r = json_get_string(root, REVISION_KEY, JSON_OPTIONAL, &hex, err);
	if (r < 0 || !hex)
		return r < 0 ? r : 0;
	if (digest_parse(hex, &ret->revision) < 0)
		return json_error(root, REVISION_KEY, err, "is no SHA-256 digest");
	ret->has_revision = true;
	return 0;
}

int store_checksums_read(int dir_fd, struct checksums *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	AUTO_DONE(checksums) sums = { 0 };
	struct json_at root, files;
	uint32_t version;
	size_t len;

	int r = file_read_at(dir_fd, "checksums.json", CHECKSUMS_MAX, &text, &len);
	if (r == -ENOENT)
		return mvm_error_set(err, r,
				     "checksums.json is missing: its files cannot be "
				     "checked");
	if (r < 0)
		return mvm_error_set(err, r, "cannot read checksums.json: %s", strerror(-r));
	r = json_read(text, len, "checksums.json", &doc, err);
	if (r < 0)
		return r;
	json_root(&root, "checksums.json", doc);
	if ((r = read_schema_version(&root, &version, err)) < 0 ||
	    (r = json_get_object(&root, "files", JSON_REQUIRED, &files, err)) < 0 ||
	    (r = read_files(&files, &sums, err)) < 0 || (r = read_revision(&root, &sums, err)) < 0)
		return r;
	*ret = sums;
	sums = (struct checksums){ 0 };
	return 0;
}

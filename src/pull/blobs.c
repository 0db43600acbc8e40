/* SPDX-License-Identifier: Apache-2.0 */
/* Fetches an image's configuration and layers, and puts them into a staging folder as blobs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "image/oci_resolve.h"
#include "pull/pull_priv.h"
#include "pull/remote.h"
#include "store/blob.h"
#include "store/turn.h"

/* One layer.  A layer that the image has twice is here once. */
struct need {
	struct mvm_digest digest;
	uint64_t size;
	char hex[DIGEST_HEX_SIZE];
	bool is_here;
	struct turn turn;
	int fd; /* its first bytes, in cache/pulls; -1: not open */
};

struct needs {
	struct need *v;
	size_t n;
};

static void needs_done(struct needs *l)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].fd >= 0)
			close(l->v[i].fd);
		turn_done(&l->v[i].turn);
	}
	free(l->v);
	*l = (struct needs){ 0 };
}
DEFINE_AUTO_DONE(needs, needs_done)

/* ---- configuration ---- */

struct blobs_call {
	struct session_blob *v;
	size_t n;
	struct progress_step *step;
};

static int get_blobs(struct session *s, void *arg, struct mvm_error *err)
{
	const struct blobs_call *call = arg;
	return session_blobs(s, call->v, call->n, call->step, err);
}

struct config_call {
	struct index_part blob;
	char *what, *text;
	size_t len;
};

static int get_config(struct session *s, void *arg, struct mvm_error *err)
{
	struct config_call *call = arg;
	return remote_blob(s, &call->blob, call->what, &call->text, &call->len, err);
}

int pull_config(struct pull *p, const struct mvm_digest *digest, uint64_t size, char **ret,
		size_t *ret_len, struct mvm_error *err)
{
	int r = pull_read_stored(p, digest, ret, ret_len);
	if (r != 0)
		return r < 0 ? mvm_error_oom(err) : 0;
	AUTO_FREE char *what = str_printf("'%s': its configuration", p->name);
	struct config_call call = { .blob = { *digest, size }, .what = what };
	r = what ? pull_ask(p, get_config, &call, err) : mvm_error_oom(err);
	if (r < 0)
		return r;
	*ret = call.text;
	*ret_len = call.len;
	return 0;
}

/* ---- layers ---- */

static int by_digest(const void *a, const void *b)
{
	const struct need *x = a, *y = b;
	return memcmp(x->digest.bytes, y->digest.bytes, sizeof(x->digest.bytes));
}

static int list_layers(const struct pull *p, const struct oci_descriptor *layers, size_t n_layers,
		       struct needs *ret, struct mvm_error *err)
{
	uint64_t total = 0;
	char limit[24];

	ret->v = calloc(n_layers + 1, sizeof(*ret->v));
	if (!ret->v)
		return mvm_error_oom(err);
	for (size_t i = 0; i < n_layers; i++) {
		struct need *need = &ret->v[i];
		*need = (struct need){ .digest = layers[i].digest,
				       .size = layers[i].size,
				       .turn = TURN_NONE,
				       .fd = -1 };
		digest_hex(&need->digest, need->hex);
		ret->n++;
		if (need->size > p->max_bytes || total + need->size > p->max_bytes) {
			str_bytes(p->max_bytes, limit, sizeof(limit));
			int r = mvm_error_set(err, -EFBIG, "the layers of '%s' take more than %s",
					      p->name, limit);
			return mvm_error_reason(err, r, "image-too-large", NULL);
		}
		total += need->size;
	}
	qsort(ret->v, ret->n, sizeof(*ret->v), by_digest);
	size_t n = 0;
	for (size_t i = 0; i < ret->n; i++) {
		if (n > 0 && by_digest(&ret->v[n - 1], &ret->v[i]) == 0) {
			if (ret->v[n - 1].size != ret->v[i].size)
				return mvm_error_set(err, -EBADMSG,
						     "'%s' is damaged: it gives a layer two sizes",
						     p->name);
			continue;
		}
		ret->v[n++] = ret->v[i];
	}
	ret->n = n;
	return 0;
}

/* Link a blob that the store has into the folder.  A damaged one counts as missing: it is fetched
 * again, and replaced. */
static int look_here(struct pull *p, struct need *need, int dir)
{
	struct mvm_digest actual;
	uint64_t bytes = 0;

	if (!store_blob_has(p->store, &need->digest, &bytes) || bytes != need->size)
		return 0;
	int r = store_blob_link(p->store, &need->digest, dir, need->hex, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	AUTO_CLOSE int fd = openat(dir, need->hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	r = fd < 0 ? -errno : sha256_fd(fd, NULL, &actual, NULL);
	need->is_here = r == 0 && digest_equal(&actual, &need->digest);
	if (!need->is_here)
		unlinkat(dir, need->hex, 0);
	return r;
}

int pull_await_turn(struct pull *p, const char *hex, const char *of, struct turn *ret,
		    struct mvm_error *err)
{
	char holder[LOCK_HOLDER_SIZE];
	bool told = false;
	int r;

	while ((r = turn_take(p->store, hex, "pull", ret, holder)) == -EBUSY) {
		if (!told)
			progress_note(p->progress, "waiting for process %s of %s that %s needs",
				      holder[0] ? holder : "(id unknown)", of, p->name);
		told = true;
		r = turn_await(p->store, hex, p->progress);
		if (r < 0)
			break;
	}
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "waiting for another pull");
	return r < 0 ? mvm_error_set(err, r, "cannot lock %s of '%s': %s", of, p->name,
				     strerror(-r))
		     : 0;
}

int pull_open_beginning(struct pull *p, const char *hex, struct mvm_error *err)
{
	struct stat st;

	int pulls = store_dir_get(p->store, STORE_PULLS, err);
	if (pulls < 0)
		return pulls;
	AUTO_CLOSE int fd = openat(pulls, hex,
				   O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	int r = fd < 0 ? -errno : 0;
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r == 0 && (!S_ISREG(st.st_mode) || st.st_nlink != 1))
		r = -EINVAL;
	if (r < 0) {
		r = mvm_error_set(err, r, "cannot open a file in '%s/cache/pulls': %s",
				  store_path(p->store), strerror(-r));
		return store_mend(p->store, r, err);
	}
	return TAKE_FD(fd);
}

/* Find out which layers are missing, and get ready to fetch them. */
static int prepare(struct pull *p, struct needs *l, int dir, struct mvm_error *err)
{
	for (size_t i = 0; i < l->n; i++) {
		struct need *need = &l->v[i];
		int r = progress_check(p->progress, err);
		if (r == 0)
			r = look_here(p, need, dir);
		if (r == 0 && !need->is_here) {
			r = pull_await_turn(p, need->hex, "a layer", &need->turn, err);
			if (r == 0) /* has another process just fetched it? */
				r = look_here(p, need, dir);
			if (r == 0 && need->is_here)
				turn_done(&need->turn);
			else if (r == 0)
				r = need->fd = pull_open_beginning(p, need->hex, err);
		}
		if (r < 0)
			return err->code == r ? r
					      : mvm_error_set(err, r,
							      "cannot look for layers of "
							      "'%s': %s",
							      p->name, strerror(-r));
	}
	return 0;
}

static int check_room(const struct pull *p, int dir, uint64_t bytes, struct mvm_error *err)
{
	char need[24], have[24];
	struct statvfs st;

	if (fstatvfs(dir, &st) < 0 || (uint64_t)st.f_bavail * st.f_frsize >= bytes)
		return 0;
	str_bytes(bytes, need, sizeof(need));
	str_bytes((uint64_t)st.f_bavail * st.f_frsize, have, sizeof(have));
	int r = mvm_error_set(err, -ENOSPC, "'%s' needs %s for its layers, and only %s are free",
			      p->name, need, have);
	return store_mend(p->store, r, err);
}

/* Fetched bytes become a blob, which the staging folder links. */
static int publish(struct pull *p, struct need *need, int dir, struct mvm_error *err)
{
	struct mvm_digest actual;

	int pulls = store_dir_get(p->store, STORE_PULLS, err);
	if (pulls < 0)
		return pulls;
	if (renameat(pulls, need->hex, dir, need->hex) < 0)
		return mvm_error_set(err, -errno, "cannot move a layer of '%s': %s", p->name,
				     strerror(errno));
	int r = store_blob_take(p->store, dir, need->hex, &actual, NULL, err);
	if (r >= 0 && !digest_equal(&actual, &need->digest))
		return mvm_error_set(err, -EBADMSG, "a layer of '%s' does not match its digest",
				     p->name);
	return r < 0 ? r : 0;
}

static int fetch(struct pull *p, struct needs *l, int dir, struct mvm_error *err)
{
	AUTO_FREE struct session_blob *blobs = calloc(l->n + 1, sizeof(*blobs));
	AUTO_DONE(progress_step) step = { 0 };
	struct blobs_call call = { .v = blobs, .step = &step };
	uint64_t bytes = 0;
	char size[24];

	if (!blobs)
		return mvm_error_oom(err);
	for (size_t i = 0; i < l->n; i++) {
		const struct need *need = &l->v[i];
		if (need->is_here)
			continue;
		blobs[call.n++] = (struct session_blob){ .digest = need->digest,
							 .size = need->size,
							 .fd = need->fd };
		bytes += need->size;
	}
	if (call.n == 0)
		return 0;
	int r = check_room(p, dir, bytes, err);
	if (r < 0)
		return r;
	str_bytes(bytes, size, sizeof(size));
	progress_begin(&step, p->progress, "pulling %s: %zu of %zu layers, %s", p->name, call.n,
		       l->n, size);
	r = pull_ask(p, get_blobs, &call, err);
	session_done(&p->session); /* it could still write to the files that we judge now */
	for (size_t i = 0; r == 0 && i < l->n; i++) {
		if (!l->v[i].is_here)
			r = publish(p, &l->v[i], dir, err);
	}
	if (r == 0)
		progress_end(&step, "%s", size);
	return store_mend(p->store, r, err);
}

static int check_platform(const struct pull *p, const char *text, size_t len, struct mvm_error *err)
{
	const struct oci_platform here = oci_platform_here(NULL);
	AUTO_DONE(oci_config) config = { 0 };

	int r = oci_config_parse(text, len, p->name, &config, err);
	if (r < 0 || oci_platform_fits(&here, config.os, config.arch))
		return r;
	return mvm_error_set(err, -ENOENT, "'%s' is an image for %.50s/%.50s, not linux/%s",
			     p->place, config.os ? config.os : "?", config.arch ? config.arch : "?",
			     here.arch);
}

int pull_make_folder(int dir_fd, struct mvm_error *err)
{
	AUTO_CLOSE int blobs = dir_make_at(dir_fd, "blobs");
	int dir = blobs < 0 ? blobs : dir_make_at(blobs, "sha256");
	return dir < 0 ? mvm_error_set(err, dir, "cannot make a folder in staging: %s",
				       strerror(-dir))
		       : dir;
}

int pull_layers(struct pull *p, const struct oci_descriptor *layers, size_t n, int dir,
		struct mvm_error *err)
{
	AUTO_DONE(needs) needs = { 0 };

	int r = list_layers(p, layers, n, &needs, err);
	if (r == 0)
		r = prepare(p, &needs, dir, err);
	return r < 0 ? r : fetch(p, &needs, dir, err);
}

int pull_file(struct pull *p, const struct mvm_digest *manifest, uint64_t max_bytes, int dir_fd,
	      int *ret_fd, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	struct oci_descriptor file = { 0 };
	char hex[DIGEST_HEX_SIZE], limit[24];
	size_t len;

	AUTO_CLOSE int dir = pull_make_folder(dir_fd, err);
	if (dir < 0)
		return dir;
	int r = pull_manifest(p, manifest, &text, &len, err);
	if (r == 0)
		r = oci_file_parse(text, len, p->name, &file, err);
	if (r < 0)
		return r;
	if (file.size > max_bytes) {
		str_bytes(max_bytes, limit, sizeof(limit));
		return mvm_error_set(err, -EFBIG, "the file of '%s' takes more than %s", p->name,
				     limit);
	}
	r = pull_layers(p, &file, 1, dir, err);
	if (r < 0)
		return r;
	digest_hex(&file.digest, hex);
	int fd = openat(dir, hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return mvm_error_set(err, -errno, "cannot open the file of '%s': %s", p->name,
				     strerror(errno));
	*ret_fd = fd;
	return 0;
}

int pull_into(struct pull *p, const struct mvm_digest *manifest, int dir_fd, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL, *config = NULL;
	AUTO_DONE(oci_manifest) m = { 0 };
	size_t len, config_len;

	AUTO_CLOSE int dir = pull_make_folder(dir_fd, err);
	if (dir < 0)
		return dir;
	int r = pull_manifest(p, manifest, &text, &len, err);
	if (r == 0)
		r = oci_manifest_parse(text, len, p->name, &m, err);
	if (r == 0)
		r = pull_store_document(p, dir, text, len, err);
	if (r == 0)
		r = pull_config(p, &m.config.digest, m.config.size, &config, &config_len, err);
	if (r == 0)
		r = check_platform(p, config, config_len, err);
	if (r == 0)
		r = pull_store_document(p, dir, config, config_len, err);
	return r < 0 ? r : pull_layers(p, m.layers, m.n, dir, err);
}

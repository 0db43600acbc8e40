/* SPDX-License-Identifier: Apache-2.0 */
#include "store/images.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "store/blob.h"
#include "store/turn.h"

#define CHUNKS_KEPT_S (INT64_C(30) * 24 * 60 * 60)

int store_image_keep(struct store *s, const struct mvm_digest *image,
		     const struct mvm_digest *blobs, size_t n, struct mvm_error *err)
{
	char hex[DIGEST_HEX_SIZE];

	int images = store_dir_get(s, STORE_IMAGES, err);
	int from = images < 0 ? images : store_dir_get(s, STORE_BLOBS, err);
	if (from < 0)
		return from;
	digest_hex(image, hex);
	AUTO_CLOSE int dir = dir_make_at(images, hex);
	int r = dir < 0 ? dir : 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		digest_hex(&blobs[i], hex);
		r = store_link_file(s, from, hex, dir, hex);
		if (r == -EEXIST || r == -ENOENT)
			r = 0;
	}
	if (r < 0)
		mvm_error_set(err, r, "cannot keep the image's blobs: %s", strerror(-r));
	return store_mend(s, r, err);
}

/* Is this a file of ours with a digest's name?  Whoever sweeps leaves all others. */
static bool is_own_file(int dir, const char *name, struct stat *ret)
{
	struct mvm_digest digest;

	return digest_parse(name, &digest) == 0 &&
	       fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode) &&
	       ret->st_uid == geteuid();
}

int store_image_drop(struct store *s, const char *image, bool dry_run,
		     int (*fn)(void *arg, const struct stat *st), void *arg)
{
	AUTO_DONE(strv) names = { 0 };
	struct mvm_digest digest;
	struct stat st;

	int images = store_dir(s, STORE_IMAGES);
	if (images < 0 || digest_parse(image, &digest) < 0)
		return images < 0 ? images : 0;
	AUTO_CLOSE int dir = dir_open_unmounted_at(images, image);
	if (dir < 0)
		return dir == -ENOENT || dir == -ENOTDIR || dir == -EXDEV ? 0 : dir;
	int r = dir_list(dir, &names);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		if (!is_own_file(dir, names.v[i], &st) || (st.st_mode & 07777) != 0444)
			continue; /* no link to a blob */
		r = fn ? fn(arg, &st) : 0;
		if (r == 0 && !dry_run && unlinkat(dir, names.v[i], 0) < 0)
			r = -errno;
	}
	if (r >= 0 && !dry_run)
		unlinkat(images, image, AT_REMOVEDIR); /* fails if somebody put a file there */
	return r < 0 ? r : 0;
}

int store_sweep_pulls(struct store *s, bool dry_run, uint64_t *ret_bytes)
{
	AUTO_DONE(strv) names = { 0 };
	struct stat st;
	int n = 0;

	int r = store_dir_names(s, STORE_PULLS, &names, NULL);
	int dir = store_dir(s, STORE_PULLS);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		AUTO_DONE(turn) turn = TURN_NONE;
		const char *name = names.v[i];
		if (!is_own_file(dir, name, &st))
			continue;
		if (!dry_run && turn_take(s, name, "sweep", &turn, NULL) < 0)
			continue; /* somebody fetches it */
		if (!dry_run && unlinkat(dir, name, 0) < 0)
			continue;
		*ret_bytes += (uint64_t)st.st_blocks * 512;
		n++;
	}
	return r < 0 ? r : n;
}

int store_sweep_chunks(struct store *s, bool dry_run, uint64_t *ret_bytes)
{
	const int64_t old_s = clock_wall_ns() / NS_PER_S - CHUNKS_KEPT_S;
	AUTO_DONE(strv) names = { 0 };
	struct stat st;
	int n = 0;

	int r = store_dir_names(s, STORE_CHUNKS, &names, NULL);
	int dir = store_dir(s, STORE_CHUNKS);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		if (!is_own_file(dir, names.v[i], &st) || st.st_mtime > old_s)
			continue;
		if (!dry_run && unlinkat(dir, names.v[i], 0) < 0)
			continue;
		*ret_bytes += (uint64_t)st.st_blocks * 512;
		n++;
	}
	return r < 0 ? r : n;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "store/marker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "codec/json.h"
#include "store/proof.h"

#define MARKER_MAX  ((size_t)4096)
#define MARKER_TEXT "{\"format\": 1}\n"

_Static_assert(MARKER_FORMAT == 1, "MARKER_TEXT holds the number");

static const char *marker_why(int r)
{
	if (r == -ELOOP)
		return "it is a symbolic link";
	return r == -EINVAL ? "it is no regular file" : strerror(-r);
}

/* 1, 0 when the marker is missing or was never completed, or -errno. */
static int read_marker(int fd, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;
	uint64_t format;
	size_t len;

	int r = file_read_below(fd, MARKER_NAME, MARKER_MAX, &text, &len);
	if (r == -ENOENT || (r == 0 && len == 0))
		return 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read " MARKER_NAME ": %s", marker_why(r));
	r = json_read(text, len, MARKER_NAME, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, MARKER_NAME, doc);
	r = json_get_u64(&root, "format", 1, JSON_U64_MAX, JSON_REQUIRED, &format, err);
	if (r < 0)
		return r;
	if (format > MARKER_FORMAT) {
		mvm_error_set(err, -EOPNOTSUPP,
			      MARKER_NAME ": written by a newer mvm (format %" PRIu64
					  "; this mvm knows %u)",
			      format, MARKER_FORMAT);
		return mvm_error_reason(err, -EOPNOTSUPP, "data-folder-newer", NULL);
	}
	return 1;
}

int marker_write(int fd)
{
	struct stat st = { 0 };
	AUTO_CLOSE int marker = openat(
		fd, MARKER_NAME, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	int r = marker < 0 || fstat(marker, &st) < 0 ? -errno : 0;
	/* an empty marker was never completed, but a second hard link makes it a foreign file */
	if (r == 0 && (!S_ISREG(st.st_mode) || st.st_nlink > 1))
		r = -EMLINK;
	if (r == 0)
		r = file_write_all(marker, MARKER_TEXT, strlen(MARKER_TEXT));
	if (r == 0 && fsync(marker) < 0)
		r = -errno;
	return r < 0 ? r : dir_sync(fd);
}

/* ---- folders of earlier versions ---- */

struct found {
	bool proof, tmp, files;
};

/* Is this a folder of mvm, by its name, owner and mode?  Returns 1, 0 or -errno. */
static int look_at(int root_fd, const char *name, struct found *found)
{
	AUTO_DONE(strv) names = { 0 };
	struct stat st;

	AUTO_CLOSE int fd = proof_knows(name) ? dir_open_at(root_fd, name) : -ENOTDIR;
	if (fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IRWXG | S_IRWXO)))
		return 0;
	int r = dir_list(fd, &names);
	if (r < 0)
		return r;
	found->proof |= proof_in(name, fd, &names);
	found->tmp |= str_eq(name, "tmp");
	found->files |= names.n > 0;
	return 1;
}

/* Is this clearly a data folder of an earlier version?  Returns 1, 0 with the name of a foreign
 * file, or -errno. */
static int is_plain(int fd, char ret_foreign[MARKER_FOREIGN_SIZE])
{
	AUTO_DONE(strv) names = { 0 };
	struct found found = { 0 };
	size_t n = 0;

	int r = dir_list(fd, &names);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		snprintf(ret_foreign, MARKER_FOREIGN_SIZE, "%.60s", names.v[i]);
		if (str_eq(names.v[i], MARKER_NAME)) /* a marker that was never completed */
			continue;
		r = look_at(fd, names.v[i], &found);
		if (r == 0)
			return 0;
		n++;
	}
	if (r < 0 || n == 0)
		return r < 0 ? r : 1;
	return found.proof || (n > 1 && found.tmp && !found.files);
}

int marker_check(int fd, char ret_foreign[MARKER_FOREIGN_SIZE], struct mvm_error *err)
{
	int r = read_marker(fd, err);
	if (r != 0)
		return r;
	int plain = is_plain(fd, ret_foreign);
	if (plain > 0)
		return 0;
	/* another first command may have just written the marker and made folders */
	r = read_marker(fd, err);
	if (r != 0)
		return r;
	return plain < 0 ? mvm_error_set(err, plain, "cannot list its files: %s", strerror(-plain))
			 : -EPERM;
}

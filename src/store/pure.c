/* SPDX-License-Identifier: Apache-2.0 */
/* Tells mvm's own files from foreign files in the folders of templates and revisions. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/json.h"
#include "model/name.h"
#include "store/revision.h"
#include "store/store_priv.h"
#include "store/trust.h"

static bool is_kind(int dir_fd, const char *name, mode_t kind)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (st.st_mode & S_IFMT) == kind;
}

/* Is this a file that mvm makes?  Files of a snapshot have "snapshot/" in front. */
static bool is_usual(const char *path)
{
	static const char *const usual[] = {
		"vmlinux",
		"rootfs.ext4",
		"initrd",
		"data.ext4",
		"fc-base.json",
		"snapshot/vmstate.bin",
		"snapshot/mem.bin",
		"snapshot/data.ext4",
		"snapshot/working-set.bin",
		"snapshot/root.ext4",
		"snapshot/rootfs.ext4",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(usual); i++) {
		if (str_eq(path, usual[i]))
			return true;
	}
	return false;
}

/* sums: NULL when the revision has no readable list of its files. */
static bool belongs(const char *path, const struct checksums *sums)
{
	return str_eq(path, "revision.json") || str_eq(path, "checksums.json") ||
	       str_eq(path, STORE_VERIFIED) ||
	       (sums ? checksums_find(sums, path) != NULL : is_usual(path));
}

/* prefix: "" for the revision's folder, "snapshot/" for the one folder that mvm makes in it. */
static int find_in(int dir_fd, const char *prefix, const struct checksums *sums, char **ret)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(dir_fd, &names);

	for (size_t i = 0; r == 0 && i < names.n; i++) {
		AUTO_FREE char *path = str_printf("%s%s", prefix, names.v[i]);
		bool is_folder = is_kind(dir_fd, names.v[i], S_IFDIR);
		if (!path)
			return -ENOMEM;
		if (is_folder && str_eq(path, "snapshot")) {
			AUTO_CLOSE int below = dir_open_at(dir_fd, "snapshot");
			r = below < 0 ? below : find_in(below, "snapshot/", sums, ret);
		} else if (is_folder || !belongs(path, sums)) {
			*ret = TAKE_PTR(path);
			r = 1;
		}
	}
	return r;
}

/* Find the first foreign file or folder.  Returns 1 with its path, 0, or -errno. */
static int find_foreign(int dir_fd, char **ret)
{
	AUTO_DONE(checksums) sums = { 0 };
	int listed = store_checksums_read(dir_fd, &sums, NULL);
	if (listed == -ENOMEM)
		return listed;
	return find_in(dir_fd, "", listed < 0 ? NULL : &sums, ret);
}

int store_revision_is_pure(int dir_fd)
{
	AUTO_FREE char *foreign = NULL;

	if (!is_kind(dir_fd, "revision.json", S_IFREG) &&
	    !is_kind(dir_fd, "checksums.json", S_IFREG))
		return 0;
	int r = find_foreign(dir_fd, &foreign);
	return r < 0 ? r : r == 0;
}

int store_revision_may_go(int dir_fd, const char *id, const char *revision, struct mvm_error *err)
{
	AUTO_FREE char *foreign = NULL;

	int r = find_foreign(dir_fd, &foreign);
	if (r == 0)
		return 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot list revision '%s' of '%s': %s", revision, id,
				     strerror(-r));
	r = mvm_error_set(err, -EEXIST,
			  "revision '%s' of '%s' cannot be replaced: mvm did not make '%s' in "
			  "'templates/%s/artifacts/%s' of the data folder",
			  revision, id, foreign, id, revision);
	return mvm_error_hint(err, r, "move it to another place, then run the command again");
}

/* Has mvm written this template.json?  A damaged one has at least the mode, and is no other
 * program's JSON. */
static bool is_spec(int dir_fd)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct stat st;
	size_t len;

	if (fstatat(dir_fd, SPEC_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return false;
	if (file_read_at(dir_fd, SPEC_NAME, SPEC_MAX, &text, &len) < 0)
		return false;
	if (json_read_any(text, len, SPEC_NAME, &doc, NULL) == 0)
		return json_object_get(doc, "schema_version");
	return st.st_uid == geteuid() && !(st.st_mode & (S_IRWXG | S_IRWXO));
}

/* As find_foreign(), in a template's folder artifacts/. */
static int find_in_artifacts(int dir_fd, char **ret)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int fd = dir_open_at(dir_fd, "artifacts");
	int r = fd < 0 ? fd : dir_list(fd, &names);

	for (size_t i = 0; r == 0 && i < names.n; i++) {
		AUTO_FREE char *below = NULL;
		bool named = name_valid(NAME_REVISION, names.v[i]);
		AUTO_CLOSE int revision = named ? dir_open_at(fd, names.v[i]) : -ENOTDIR;
		if (revision >= 0)
			r = find_foreign(revision, &below);
		else
			r = revision == -ENOTDIR || revision == -ELOOP ? 1 : revision;
		if (r == 1) {
			*ret = str_printf("artifacts/%s%s%s", names.v[i], below ? "/" : "",
					  below ? below : "");
			r = *ret ? 1 : -ENOMEM;
		}
	}
	return r;
}

/* As find_foreign(), in a template's folder. */
static int find_in_template(int dir_fd, char **ret)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(dir_fd, &names);

	for (size_t i = 0; r == 0 && i < names.n; i++) {
		const char *name = names.v[i];
		if (str_eq(name, "artifacts") && is_kind(dir_fd, name, S_IFDIR)) {
			r = find_in_artifacts(dir_fd, ret);
			continue;
		}
		if ((str_eq(name, SPEC_NAME) && is_spec(dir_fd)) ||
		    (str_eq(name, "current") && is_kind(dir_fd, name, S_IFLNK)) ||
		    (name_is_unique(name, "file.") && is_kind(dir_fd, name, S_IFREG)))
			continue;
		*ret = strdup(name);
		r = *ret ? 1 : -ENOMEM;
	}
	return r;
}

int store_template_may_go(int dir_fd, const char *id, struct mvm_error *err)
{
	AUTO_FREE char *foreign = NULL;

	int r = find_in_template(dir_fd, &foreign);
	if (r == 0)
		return 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot list the folder of template '%s': %s", id,
				     strerror(-r));
	r = mvm_error_set(err, -EEXIST,
			  "it cannot be removed: mvm did not make 'templates/%s/%s' in the data "
			  "folder",
			  id, foreign);
	return mvm_error_hint(err, r, "move it to another place, then run the command again");
}

int store_spec_may_go(int dir_fd, const char *id, struct mvm_error *err)
{
	if (faccessat(dir_fd, SPEC_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || is_spec(dir_fd))
		return 0;
	int r = mvm_error_set(err, -EEXIST,
			      "template '%s' cannot be replaced: mvm did not make "
			      "'templates/%s/" SPEC_NAME "' in the data folder",
			      id, id);
	return mvm_error_hint(err, r, "move it to another place, then run the command again");
}

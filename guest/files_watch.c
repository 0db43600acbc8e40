/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "files.h"

#define MASK                                                                                       \
	(IN_CREATE | IN_MODIFY | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB |             \
	 IN_EXCL_UNLINK | IN_ONLYDIR)
#define WATCHES_MAX 65536

struct watcher {
	int fd;
	const char *root;
	bool recursive, entries;
	char **names; /* by watch descriptor: the folder's path below root, "" for root itself */
	int n;
};

/*
 * Watch a folder.
 *
 *   name  its path below root
 *   more  IN_DONT_FOLLOW or 0
 *
 * Returns 0 or -errno.
 */
static int add(struct watcher *w, const char *path, const char *name, uint32_t more)
{
	int wd = inotify_add_watch(w->fd, path, MASK | more);
	if (wd < 0)
		return -errno;
	if (wd >= WATCHES_MAX)
		return -ENOSPC;
	if (wd >= w->n) {
		char **grown = realloc(w->names, (size_t)(wd + 1) * 2 * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + w->n, 0, (size_t)((wd + 1) * 2 - w->n) * sizeof(*grown));
		w->names = grown;
		w->n = (wd + 1) * 2;
	}
	free(w->names[wd]);
	w->names[wd] = strdup(name);
	return w->names[wd] ? 0 : -ENOMEM;
}

static void tell(const struct watcher *w, const char *what, const char *name)
{
	char path[PATH_MAX];
	const char *root = w->root[1] ? w->root : ""; /* "/" */
	struct mvm_error gone;
	printf("%s%c%s%c", what, 0, name, 0);
	if (w->entries &&
	    (!name[0] || snprintf(path, sizeof(path), "%s/%s", root, name) >= PATH_MAX ||
	     files_put_entry(path, &gone) < 0))
		putchar(0);
}

/* Watch the folders below one.  tell_all: it is new, so what is in it already was missed. */
static void add_below(struct watcher *w, const char *name, bool tell_all)
{
	char path[PATH_MAX], below[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", w->root, name) >= (int)sizeof(path))
		return;
	DIR *dir = opendir(path);
	if (!dir)
		return; /* gone already */
	for (struct dirent *e; (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (snprintf(below, sizeof(below), "%s%s%s", name, name[0] ? "/" : "", e->d_name) >=
			    (int)sizeof(below) ||
		    snprintf(path, sizeof(path), "%s/%s", w->root, below) >= (int)sizeof(path))
			continue;
		if (tell_all)
			tell(w, "create", below);
		/* fails for all but folders; a folder over the kernel's limit goes unwatched */
		if (add(w, path, below, IN_DONT_FOLLOW) == 0)
			add_below(w, below, tell_all);
	}
	closedir(dir);
}

static const char *word_for(uint32_t mask)
{
	if (mask & (IN_CREATE | IN_MOVED_TO))
		return "create";
	if (mask & IN_MODIFY)
		return "write";
	if (mask & IN_DELETE)
		return "remove";
	if (mask & IN_MOVED_FROM)
		return "rename";
	return mask & IN_ATTRIB ? "chmod" : NULL;
}

static void take(struct watcher *w, const struct inotify_event *e)
{
	char name[PATH_MAX], path[PATH_MAX];
	const char *word = word_for(e->mask);
	if (e->mask & IN_Q_OVERFLOW) {
		tell(w, "overflow", "");
		return;
	}
	if (e->wd < 0 || e->wd >= w->n || !w->names[e->wd] || !word || e->len == 0)
		return; /* of the folder itself; its parent's watch tells the same */
	const char *folder = w->names[e->wd];
	if (snprintf(name, sizeof(name), "%s%s%s", folder, folder[0] ? "/" : "", e->name) >=
	    (int)sizeof(name))
		return;
	tell(w, word, name);
	if (!w->recursive || !(e->mask & IN_ISDIR) || !(e->mask & (IN_CREATE | IN_MOVED_TO)))
		return;
	if (snprintf(path, sizeof(path), "%s/%s", w->root, name) < (int)sizeof(path) &&
	    add(w, path, name, IN_DONT_FOLLOW) == 0)
		add_below(w, name, true);
}

/* -EINVAL: the folder is on another computer, or a program's, whose changes no kernel tells. */
static int check_local(const char *path, struct mvm_error *err)
{
	static const unsigned long remote[] = { NFS_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB_SUPER_MAGIC,
						SMB2_SUPER_MAGIC, FUSE_SUPER_MAGIC };
	struct statfs fs;
	if (statfs(path, &fs) < 0)
		return 0; /* inotify says why */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(remote); i++) {
		if ((unsigned long)fs.f_type == remote[i])
			return mvm_error_set(err, -EINVAL, "'%s' is on a network's file system",
					     path);
	}
	return 0;
}

int files_watch(const char *path, char *const *options, struct mvm_error *err)
{
	static char events[65536] __attribute__((aligned(8)));
	struct watcher w = { .root = path };
	bool local = false;

	for (; *options; options++) {
		w.recursive |= str_eq(*options, "recursive");
		w.entries |= str_eq(*options, "entries");
		local |= str_eq(*options, "local");
	}
	if (local && check_local(path, err) < 0)
		return err->code;
	w.fd = inotify_init1(IN_CLOEXEC);
	int r = w.fd < 0 ? -errno : add(&w, path, "", 0);
	if (r < 0)
		return mvm_error_set(err, r, "'%s': %s", path, strerror(-r));
	if (w.recursive)
		add_below(&w, "", false);
	tell(&w, "ready", "");
	while (fflush(stdout) == 0) {
		ssize_t n = read(w.fd, events, sizeof(events));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return mvm_error_set(err, n < 0 ? -errno : -EIO, "cannot read the events");
		for (const char *at = events; at < events + n;) {
			const struct inotify_event *e = (const void *)at;
			take(&w, e);
			at += sizeof(*e) + e->len;
		}
	}
	return mvm_error_set(err, -EPIPE, "nobody reads the events");
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mvm/store.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "image/elf64.h"
#include "model/name.h"
#include "model/strings.h"
#include "template/presets.h"
#include "vmm/ask.h"

#define BUSYBOX_MAX ((size_t)16 << 20)
#define LIST_S	    10

const char *const *mvm_template_presets(void)
{
	static const char *const names[] = { "busybox", "http", "nix", NULL };
	return names;
}

static const struct preset *find_preset(const char *name)
{
	for (const struct preset *p = presets; p->name; p++) {
		if (!name || strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

/* Name the template after its folder if that is a valid name. */
static char *id_of(const char *dir, const char *fallback)
{
	AUTO_FREE char *path = realpath(dir, NULL);
	const char *base = path ? strrchr(path, '/') : NULL;
	char id[40]; /* leaves room for -<role> */

	snprintf(id, sizeof(id), "%s", base ? base + 1 : "");
	return strdup(name_valid(NAME_TEMPLATE, id) ? id : fallback);
}

struct busybox {
	char *data;
	size_t len;
	char applets[ASK_TEXT_MAX]; /* a name a line */
};

static void busybox_done(struct busybox *b)
{
	free(b->data);
}
DEFINE_AUTO_DONE(busybox, busybox_done)

/* List the commands that busybox contains. */
static int list_applets(const char *path, char ret[ASK_TEXT_MAX], struct mvm_error *err)
{
	char *argv[] = { (char *)path, (char[]){ "--list" }, NULL };
	int r = program_ask(argv, AT_FDCWD, clock_now_ns() + LIST_S * NS_PER_S, NULL, ret);
	if (r > 0 || (r == 0 && strlen(ret) == ASK_TEXT_MAX - 1))
		return mvm_error_set(err, -EREMOTEIO, "'%s --list' does not list its commands",
				     path);
	return r < 0 ? mvm_error_set(err, r, "cannot run '%s --list': %s", path, strerror(-r)) : 0;
}

/* The host's busybox, if it can run in a root filesystem without libraries. */
static int read_busybox(struct busybox *ret, struct mvm_error *err)
{
	static const char *const paths[] = { "/bin/busybox", "/usr/bin/busybox",
					     "/bin/busybox-static", "/usr/local/bin/busybox" };
	struct elf elf;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(paths); i++) {
		AUTO_FREE char *data = NULL;
		size_t len;
		if (file_read_at(AT_FDCWD, paths[i], BUSYBOX_MAX, &data, &len) < 0 ||
		    elf_open(data, len, &elf) < 0 || !elf_is_static(&elf))
			continue;
		ret->data = TAKE_PTR(data);
		ret->len = len;
		return list_applets(paths[i], ret->applets, err);
	}
	int r = mvm_error_set(err, -ENOENT, "there is no static busybox on this host");
	return mvm_error_hint(err, r, "install one: Debian's package is busybox-static");
}

/* The text with every @ID@ replaced. */
static char *fill_in(const char *text, const char *id)
{
	AUTO_DONE(strbuf) b = { 0 };
	const char *at;

	while ((at = strstr(text, "@ID@"))) {
		strbuf_add(&b, text, (size_t)(at - text));
		strbuf_adds(&b, id);
		text = at + strlen("@ID@");
	}
	strbuf_adds(&b, text);
	return strbuf_take(&b);
}

struct writing {
	int dir_fd;
	const char *id;
	const struct busybox *busybox;
	struct strv made; /* every path below dir_fd that we made, in that order */
};

/* Open the parent folder of a path.  Makes folders that are missing (mode 0755). */
static int open_parent(struct writing *w, const char *path, const char **ret_name)
{
	AUTO_CLOSE int fd = openat(w->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *rest = path, *slash;

	if (fd < 0)
		return -errno;
	while ((slash = strchr(rest, '/'))) {
		char name[64];
		snprintf(name, sizeof(name), "%.*s", (int)(slash - rest), rest);
		if (mkdirat(fd, name, 0755) == 0)
			strv_addf(&w->made, "%.*s", (int)(slash - path), path);
		else if (errno != EEXIST)
			return -errno;
		int next = dir_open_at(fd, name);
		if (next < 0)
			return next;
		close(fd);
		fd = next;
		rest = slash + 1;
	}
	*ret_name = rest;
	return TAKE_FD(fd);
}

/* Remove everything that we made, and nothing else. */
static void undo(struct writing *w)
{
	for (size_t i = w->made.n; i > 0; i--) {
		const char *path = w->made.v[i - 1];
		if (unlinkat(w->dir_fd, path, 0) < 0 && errno == EISDIR)
			unlinkat(w->dir_fd, path, AT_REMOVEDIR); /* fails on others' files */
	}
}

static int write_text(int dir_fd, const char *name, const char *content, const char *id)
{
	AUTO_FREE char *text = fill_in(content, id);
	return text ? file_create_at(dir_fd, name, text, strlen(text), 0644) : -ENOMEM;
}

/* rootfs/bin/ls -> busybox, and so on. */
static int link_applets(struct writing *w, const char *folder, int parent_fd, const char *name)
{
	AUTO_CLOSE int dir_fd = dir_open_at(parent_fd, name);
	const char *names = w->busybox->applets;
	char applet[NAME_MAX + 1];

	for (size_t len; dir_fd >= 0 && *names; names += len + (names[len] == '\n')) {
		len = strcspn(names, "\n");
		if (len == 0 || len > NAME_MAX)
			continue;
		snprintf(applet, sizeof(applet), "%.*s", (int)len, names);
		if (strchr(applet, '/') || str_eq(applet, "busybox"))
			continue;
		if (symlinkat("busybox", dir_fd, applet) < 0)
			return -errno;
		strv_addf(&w->made, "%s/%s", folder, applet);
	}
	return dir_fd < 0 ? dir_fd : 0;
}

static int write_file(struct writing *w, const struct preset_file *f)
{
	const char *name = NULL;
	AUTO_CLOSE int fd = open_parent(w, f->path, &name);

	if (fd < 0)
		return fd;
	if (f->kind == PRESET_FOLDER)
		return mkdirat(fd, name, 0755) < 0 ? -errno : 0;
	if (f->kind == PRESET_LINK)
		return symlinkat(f->content, fd, name) < 0 ? -errno : 0;
	if (f->kind == PRESET_BUSYBOX)
		return file_create_at(fd, name, w->busybox->data, w->busybox->len, 0755);
	if (f->kind == PRESET_APPLETS)
		return link_applets(w, f->path, fd, name);
	return write_text(fd, name, f->content, w->id);
}

/* Refuse to overwrite a file, before anything is written. */
static int refuse_existing(int dir_fd, const char *dir, const struct preset *p,
			   struct mvm_error *err)
{
	for (const struct preset_file *f = p->files; f->path; f++) {
		struct stat st;
		if (fstatat(dir_fd, f->path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			int r = mvm_error_set(err, -EEXIST, "'%s/%s' exists", dir, f->path);
			return mvm_error_hint(err, r, "name another folder; nothing was written");
		}
		if (errno != ENOENT)
			return mvm_error_set(err, -errno, "'%s/%s': %s", dir, f->path,
					     strerror(errno));
	}
	return 0;
}

static int not_written(int code, struct mvm_error *err)
{
	return code == -ENOSPC || code == -EDQUOT
		       ? mvm_error_hint(err, code,
					"make room on its disk, or name a folder on another")
		       : code;
}

static int write_files(struct writing *w, const char *dir, const struct preset *p,
		       struct strv *files, struct mvm_error *err)
{
	for (const struct preset_file *f = p->files; f->path; f++) {
		int r = write_file(w, f);
		if (r < 0) {
			mvm_error_set(err, r, "cannot write '%s/%s': %s", dir, f->path,
				      strerror(-r));
			return not_written(r, err);
		}
		strv_add(files, f->path);
		strv_add(&w->made, f->path);
	}
	return files->failed || w->made.failed ? mvm_error_oom(err) : 0;
}

/* ret_made: was the folder missing? */
static int open_target(const char *dir, bool *ret_made, struct mvm_error *err)
{
	*ret_made = mkdir(dir, 0755) == 0;
	int r = !*ret_made && errno != EEXIST ? -errno : 0;
	int fd = r < 0 ? r : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && r == 0)
		fd = -errno;
	if (fd >= 0)
		return fd;
	mvm_error_set(err, fd, "cannot make folder '%s': %s", dir, strerror(-fd));
	return not_written(fd, err);
}

int mvm_template_init(const char *dir, const char *preset, struct mvm_strings *ret_files,
		      struct mvm_error *err)
{
	const struct preset *p = find_preset(preset);
	AUTO_DONE(busybox) busybox = { 0 };
	AUTO_FREE char *id = NULL;
	AUTO_DONE(strv) files = { 0 };
	bool made;

	if (!p)
		return mvm_error_set(err, -EINVAL,
				     "there is no preset '%s': use busybox, http or nix", preset);
	int r = read_busybox(&busybox, err);
	if (r < 0)
		return r;
	AUTO_CLOSE int dir_fd = open_target(dir, &made, err);
	r = dir_fd < 0 ? dir_fd : refuse_existing(dir_fd, dir, p, err);
	if (r < 0)
		return r;
	id = id_of(dir, p->name);
	if (!id)
		return mvm_error_oom(err);
	struct writing w = { .dir_fd = dir_fd, .id = id, .busybox = &busybox };
	r = write_files(&w, dir, p, &files, err);
	if (r == 0 && ret_files && strings_take(&files, ret_files) < 0)
		r = mvm_error_oom(err);
	if (r < 0) {
		undo(&w);
		if (made)
			rmdir(dir); /* fails if somebody else has put files there */
	}
	strv_done(&w.made);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "copy/pack.h"
#include "copy/unpack.h"
#include "scratch.h"

/* One entry of a made-up stream. */
struct item {
	enum tar_type type;
	const char *path, *target, *text;
	mode_t mode;
};

static void put(struct strbuf *to, const struct item *i)
{
	const char *text = i->text ? i->text : "";
	const struct tar_entry e = {
		.type = i->type,
		.path = i->path,
		.target = i->target ? i->target : "",
		.mode = i->mode ? i->mode : 0644,
		.size = strlen(text),
		.mtime_s = 1000000000,
		.mtime_ns = 5,
	};
	tar_write_header(to, &e);
	strbuf_adds(to, text);
	tar_write_padding(to, strlen(text));
}

static int unpack_into(int dir_fd, const char *path, const char *name, unsigned flags,
		       uint64_t max_bytes, const struct strbuf *stream, size_t piece,
		       struct mvm_error *err)
{
	const struct unpack_options o = {
		.dir_fd = dir_fd,
		.path = path,
		.name = name,
		.flags = flags,
		.max_bytes = max_bytes,
	};
	AUTO(unpack) u = NULL;
	int r = unpack_open(&o, &u, err);
	for (size_t at = 0; r == 0 && at < stream->len; at += piece) {
		size_t n = stream->len - at < piece ? stream->len - at : piece;
		r = unpack_write(u, stream->data + at, n, err);
	}
	return r < 0 ? r : unpack_finish(u, err);
}

static void assert_text(int dir_fd, const char *path, const char *text)
{
	AUTO_FREE char *have = NULL;
	assert_int_equal(file_read_at(dir_fd, path, 4096, &have, NULL), 0);
	assert_string_equal(have, text);
}

static bool is_there(int dir_fd, const char *path)
{
	struct stat st;
	return fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void nothing_is_written_outside(void **state)
{
	static const struct {
		struct item items[3];
		int code;
		const char *says;
	} cases[] = {
		{ { { TAR_FILE, "../evil", NULL, "x", 0 } }, -EPERM, "leads upwards" },
		{ { { TAR_FILE, "a/../../evil", NULL, "x", 0 } }, -EPERM, "leads upwards" },
		{ { { TAR_FILE, "/tmp/evil", NULL, "x", 0 } }, -EPERM, "absolute" },
		{ { { TAR_FOLDER, "..", NULL, NULL, 0 } }, -EPERM, "leads upwards" },
		{ { { TAR_SYMLINK, "l", "..", NULL, 0 }, { TAR_FILE, "l/evil", NULL, "x", 0 } },
		  -ENOTDIR,
		  "passes through" },
		{ { { TAR_SYMLINK, "l", "..", NULL, 0 },
		    { TAR_SYMLINK, "m", "l", NULL, 0 },
		    { TAR_FOLDER, "m/evil", NULL, NULL, 0 } },
		  -ENOTDIR,
		  "passes through" },
		{ { { TAR_SYMLINK, "l", "..", NULL, 0 }, { TAR_FOLDER, "l", NULL, NULL, 0777 } },
		  -ENOTDIR,
		  "passes through" },
		{ { { TAR_HARDLINK, "h", "../outside", NULL, 0 } }, -EPERM, "leads upwards" },
		{ { { TAR_HARDLINK, "h", "/etc/passwd", NULL, 0 } }, -EPERM, "absolute" },
		{ { { TAR_SYMLINK, "l", "..", NULL, 0 },
		    { TAR_HARDLINK, "h", "l/outside", NULL, 0 } },
		  -ENOTDIR,
		  "cannot link to" },
		{ { { TAR_FILE, "in/the/way", NULL, "x", 0 },
		    { TAR_FILE, "in/the/way/evil", NULL, "x", 0 } },
		  -ENOTDIR,
		  "passes through" },
		{ { { TAR_FOLDER, "dir", NULL, NULL, 0755 }, { TAR_FILE, "dir", NULL, "x", 0 } },
		  -EISDIR,
		  "cannot make" },
	};
	struct scratch *s = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(strbuf) stream = { 0 };
		struct mvm_error err = { 0 };
		char place[32];
		snprintf(place, sizeof(place), "outer%zu", i);
		assert_int_equal(mkdirat(s->fd, place, 0700), 0);
		AUTO_CLOSE int outer = dir_open_at(s->fd, place);
		assert_int_equal(file_create_at(outer, "outside", "safe", 4, 0600), 0);
		for (size_t k = 0; k < 3 && cases[i].items[k].path; k++)
			put(&stream, &cases[i].items[k]);
		tar_write_end(&stream);
		int r = unpack_into(outer, "place", NULL, UNPACK_CONTENTS, 0, &stream, 100, &err);
		assert_int_equal(r, cases[i].code);
		assert_non_null(strstr(err.text, cases[i].says));
		AUTO_DONE(strv) names = { 0 };
		assert_int_equal(dir_list(outer, &names), 0);
		assert_int_equal(names.n, 2); /* "outside" and "place" */
		assert_text(outer, "outside", "safe");
		assert_false(is_there(s->fd, "evil"));
	}
}

static void a_link_is_replaced_and_not_written_through(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	const struct item items[] = {
		{ TAR_SYMLINK, "f", "../precious", NULL, 0 },
		{ TAR_FILE, "f", NULL, "new", 0600 },
	};

	assert_int_equal(file_create_at(s->fd, "precious", "safe", 4, 0600), 0);
	put(&stream, &items[0]);
	put(&stream, &items[1]);
	tar_write_end(&stream);
	assert_int_equal(unpack_into(s->fd, "p", NULL, UNPACK_CONTENTS, 0, &stream, 7, &err), 0);
	assert_text(s->fd, "precious", "safe");
	assert_text(s->fd, "p/f", "new");
}

static void devices_and_proc_links_are_not_replaced(void **state)
{
	static const char *const names[] = { "pipe", "stdout", "to-pipe" };
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	const struct item item = { TAR_FILE, "f", NULL, "new", 0600 };
	struct stat before, after;

	put(&stream, &item);
	tar_write_end(&stream);
	assert_int_equal(mkfifoat(s->fd, "pipe", 0600), 0);
	assert_int_equal(symlinkat("pipe", s->fd, "to-pipe"), 0);
	assert_int_equal(symlinkat("/proc/self/exe", s->fd, "stdout"), 0); /* a regular file */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct mvm_error err = { 0 };
		assert_int_equal(fstatat(s->fd, names[i], &before, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(unpack_into(s->fd, names[i], "f", 0, 0, &stream, 512, &err),
				 -EEXIST);
		assert_int_equal(fstatat(s->fd, names[i], &after, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(before.st_ino, after.st_ino);
	}
}

static void only_the_requested_file_is_unpacked(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	const struct item bad = { TAR_FILE, ".bashrc", NULL, "evil", 0 };

	put(&stream, &bad);
	tar_write_end(&stream);
	assert_int_equal(unpack_into(s->fd, ".", "wanted", 0, 0, &stream, 512, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "was not asked for"));
	assert_false(is_there(s->fd, ".bashrc"));
}

static void a_copy_can_have_another_name(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	const struct item items[] = {
		{ TAR_FOLDER, "src/", NULL, NULL, 0500 },
		{ TAR_FILE, "src/a", NULL, "A", 04755 },
		{ TAR_FILE, "other", NULL, "x", 0 },
	};
	struct stat st;

	put(&stream, &items[0]);
	put(&stream, &items[1]);
	tar_write_end(&stream);
	assert_int_equal(unpack_into(s->fd, "dst", NULL, UNPACK_GUARDED, 0, &stream, 1, &err), 0);
	assert_text(s->fd, "dst/a", "A");
	assert_int_equal(fstatat(s->fd, "dst", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0500);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_mtim.tv_nsec, 5);
	assert_int_equal(fstatat(s->fd, "dst/a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755); /* no set-user-id from a guest */
	assert_int_equal(fchmodat(s->fd, "dst", 0700, 0), 0);

	stream.len = 0;
	put(&stream, &items[1]);
	put(&stream, &items[2]);
	assert_int_equal(unpack_into(s->fd, "new", NULL, 0, 0, &stream, 512, &err), -EBADMSG);
}

static mode_t mode_of(int dir_fd, const char *path)
{
	struct stat st;
	assert_int_equal(fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static void the_umask_limits_a_guests_modes(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	const struct item items[] = {
		{ TAR_FOLDER, "old", NULL, NULL, 0777 },
		{ TAR_FOLDER, "new", NULL, NULL, 01777 },
		{ TAR_FILE, "new/file", NULL, "x", 0777 },
		{ TAR_FILE, "kept", NULL, "y", 0666 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(items); i++)
		put(&stream, &items[i]);
	tar_write_end(&stream);
	assert_int_equal(mkdirat(s->fd, "u", 0755), 0);
	assert_int_equal(mkdirat(s->fd, "u/old", 0700), 0);
	assert_int_equal(file_create_at(s->fd, "u/kept", "y", 1, 0600), 0);
	assert_int_equal(fchmodat(s->fd, "u/kept", 0666, 0), 0);
	mode_t before = umask(027);
	int r = unpack_into(s->fd, "u", NULL, UNPACK_CONTENTS | UNPACK_GUARDED, 0, &stream, 512,
			    &err);
	assert_int_equal(process_umask(), 027);
	assert_int_equal(r, 0);
	assert_int_equal(mode_of(s->fd, "u/old"), 0700); /* existed before */
	assert_int_equal(mode_of(s->fd, "u/new"), 0750);
	assert_int_equal(mode_of(s->fd, "u/new/file"), 0750);
	assert_int_equal(mode_of(s->fd, "u/kept"), 0640); /* replaced by another file */

	/* a volume that is copied back keeps its modes, and gets no bit beyond the umask */
	assert_int_equal(fchmodat(s->fd, "u/kept", 0666, 0), 0);
	r = unpack_into(s->fd, "u", NULL, UNPACK_CONTENTS | UNPACK_GUARDED | UNPACK_KEEP_SAME, 0,
			&stream, 512, &err);
	umask(before);
	assert_int_equal(r, 0);
	assert_int_equal(mode_of(s->fd, "u/old"), 0750);
	assert_int_equal(mode_of(s->fd, "u/new/file"), 0750);
	assert_int_equal(mode_of(s->fd, "u/kept"), 0666);
}

static void new_files_have_the_given_owner(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	const struct item items[] = {
		{ TAR_FOLDER, "./", NULL, NULL, 0750 },
		{ TAR_FOLDER, "old", NULL, NULL, 0755 },
		{ TAR_FILE, "old/file", NULL, "x", 0600 },
		{ TAR_SYMLINK, "link", "nowhere", NULL, 0777 },
	};
	static const struct {
		const char *path;
		bool with_folders; /* only if folders get owners, too */
	} owned[] = {
		{ "o/link", false }, { "o/old/file", false }, { "o/old", true }, { "o", true }
	};

	if (geteuid() != 0)
		skip(); /* only root can give files an owner; the agent is root */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(items); i++)
		put(&stream, &items[i]);
	tar_write_end(&stream);
	for (int folders = 0; folders < 2; folders++) {
		const struct unpack_options o = {
			.dir_fd = s->fd,
			.path = "o",
			.flags = UNPACK_CONTENTS | UNPACK_OWNED |
				 (folders ? (unsigned)UNPACK_OWN_FOLDERS : 0),
			.owner = { .uid = 1234, .gid = 99 },
		};
		AUTO(unpack) u = NULL;
		tree_remove_at(s->fd, "o");
		assert_int_equal(mkdirat(s->fd, "o", 0755), 0);
		assert_int_equal(mkdirat(s->fd, "o/old", 0755), 0);
		assert_int_equal(unpack_open(&o, &u, &err), 0);
		assert_int_equal(unpack_write(u, stream.data, stream.len, &err), 0);
		assert_int_equal(unpack_finish(u, &err), 0);
		for (size_t i = 0; i < MVM_ARRAY_SIZE(owned); i++) {
			struct stat st;
			bool ours = folders || !owned[i].with_folders;
			assert_int_equal(fstatat(s->fd, owned[i].path, &st, AT_SYMLINK_NOFOLLOW),
					 0);
			assert_int_equal(st.st_uid, ours ? 1234 : 0);
			assert_int_equal(st.st_gid, ours ? 99 : 0);
		}
		assert_int_equal(mode_of(s->fd, "o"), 0755);
	}
}

static void limits_hold(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	const struct item items[] = { { TAR_FILE, "a", NULL, "12345", 0 },
				      { TAR_FILE, "b", NULL, "12345", 0 } };

	put(&stream, &items[0]);
	put(&stream, &items[1]);
	tar_write_end(&stream);
	assert_int_equal(unpack_into(s->fd, "l", NULL, UNPACK_CONTENTS, 9, &stream, 512, &err),
			 -EFBIG);
	assert_true(is_there(s->fd, "l/a"));
	assert_false(is_there(s->fd, "l/b"));
}

static void equal_files_are_not_touched(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	const struct item item = { TAR_FILE, "a", NULL, "12345", 0640 };
	struct stat before, after;

	put(&stream, &item);
	tar_write_end(&stream);
	assert_int_equal(unpack_into(s->fd, "k", NULL, UNPACK_CONTENTS, 0, &stream, 512, &err), 0);
	assert_int_equal(fstatat(s->fd, "k/a", &before, 0), 0);
	assert_int_equal(unpack_into(s->fd, "k", NULL, UNPACK_CONTENTS | UNPACK_KEEP_SAME, 0,
				     &stream, 512, &err),
			 0);
	assert_int_equal(fstatat(s->fd, "k/a", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim));
}

static void a_stream_that_is_cut_leaves_whole_files_only(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	const struct item items[] = { { TAR_FILE, "a", NULL, "12345", 0 },
				      { TAR_FILE, "b", NULL, "12345", 0 } };

	put(&stream, &items[0]);
	put(&stream, &items[1]);
	size_t all = stream.len;
	for (size_t len = 0; len <= all; len += 103) {
		struct mvm_error err = { 0 };
		stream.len = len;
		assert_int_equal(
			unpack_into(s->fd, "c", NULL, UNPACK_CONTENTS, 0, &stream, 512, &err),
			-EBADMSG);
		AUTO_CLOSE int fd = dir_open_at(s->fd, "c");
		AUTO_DONE(strv) names = { 0 };
		assert_int_equal(dir_list(fd, &names), 0);
		for (size_t i = 0; i < names.n; i++)
			assert_text(fd, names.v[i], "12345");
		assert_int_equal(tree_remove_at(s->fd, "c"), 0);
	}
}

static void a_copy_that_is_killed_leaves_no_half_a_file(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	AUTO_DONE(strv) names = { 0 };
	struct mvm_error err = { 0 };
	const struct item item = { TAR_FILE, "a", NULL, "12345", 0 };
	const struct unpack_options o = { .dir_fd = s->fd, .path = "c", .flags = UNPACK_CONTENTS };
	int status;

	AUTO_CLOSE int can = openat(s->fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (can < 0)
		skip(); /* this file system needs a temporary name, which stays */
	put(&stream, &item);
	pid_t pid = fork();
	if (pid == 0) {
		AUTO(unpack) u = NULL;
		if (unpack_open(&o, &u, &err) == 0)
			unpack_write(u, stream.data, stream.len - TAR_BLOCK + 3, &err);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	AUTO_CLOSE int fd = dir_open_at(s->fd, "c");
	assert_int_equal(dir_list(fd, &names), 0);
	assert_int_equal(names.n, 0);
}

static void zeros_take_no_room(void **state)
{
	enum { SIZE = 1 << 20, AT = 500000 };
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	AUTO_FREE char *have = NULL;
	struct mvm_error err = { 0 };
	struct stat copied, sparse;
	size_t len;
	const struct tar_entry e = { .type = TAR_FILE, .path = "f", .target = "", .size = SIZE };

	/* the room that such a file takes on this file system */
	AUTO_CLOSE int fd = openat(s->fd, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(pwrite(fd, "x", 1, AT), 1);
	tar_write_header(&stream, &e);
	char *room = strbuf_room(&stream, SIZE);
	assert_non_null(room);
	memset(room, 0, SIZE);
	room[AT] = 'x';
	strbuf_added(&stream, SIZE);
	tar_write_end(&stream);

	assert_int_equal(unpack_into(s->fd, "f", NULL, 0, 0, &stream, 3333, &err), 0);
	assert_int_equal(file_read_at(s->fd, "f", SIZE, &have, &len), 0);
	assert_int_equal(len, SIZE);
	assert_memory_equal(have, stream.data + TAR_BLOCK, SIZE);
	assert_int_equal(fstatat(s->fd, "f", &copied, 0), 0);
	assert_int_equal(fstat(fd, &sparse), 0);
	assert_true(copied.st_blocks <= sparse.st_blocks);
}

/* Before 1970, other programs count fractions backwards, and the kernel counts forwards. */
static void times_are_written_as_pax_has_them(void **state)
{
	static const struct {
		int64_t s;
		uint32_t ns;
		const char *record;
	} cases[] = {
		{ 1000000000, 5, " mtime=1000000000.000000005\n" },
		{ 0, 250000000, " mtime=0.250000000\n" },
		{ -1, 750000000, " mtime=-0.250000000\n" },
		{ -5, 123456789, " mtime=-4.876543211\n" },
		{ -5, 0, " mtime=-5.000000000\n" },
	};
	struct scratch *s = *state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_DONE(strbuf) stream = { 0 };
		struct mvm_error err = { 0 };
		struct stat st;
		const struct tar_entry e = {
			.type = TAR_FILE,
			.path = "f",
			.target = "",
			.mtime_s = cases[i].s,
			.mtime_ns = cases[i].ns,
		};
		tar_write_header(&stream, &e);
		tar_write_end(&stream);
		assert_non_null(
			memmem(stream.data, stream.len, cases[i].record, strlen(cases[i].record)));
		assert_int_equal(unpack_into(s->fd, "f", NULL, 0, 0, &stream, 512, &err), 0);
		assert_int_equal(fstatat(s->fd, "f", &st, 0), 0);
		assert_int_equal(st.st_mtim.tv_sec, cases[i].s);
		assert_int_equal(st.st_mtim.tv_nsec, cases[i].ns);
	}
}

static void a_file_of_proc_is_copied_whole(void **state)
{
	static const char *const paths[] = { "/proc/version",
					     "/sys/kernel/mm/transparent_hugepage/enabled" };
	struct scratch *s = *state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		AUTO_DONE(strbuf) stream = { 0 };
		AUTO(pack) p = NULL;
		AUTO_FREE char *text = NULL;
		struct mvm_error err = { 0 };
		char chunk[1000];
		ssize_t n;

		AUTO_CLOSE int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue; /* a container may hide it */
		assert_int_equal(file_read_fd(fd, 4096, &text, NULL), 0);
		assert_int_equal(pack_open(AT_FDCWD, paths[i], "f", 0, &p, &err), 0);
		while ((n = pack_read(p, chunk, sizeof(chunk), &err)) > 0)
			strbuf_add(&stream, chunk, (size_t)n);
		assert_int_equal(n, 0);
		assert_int_equal(unpack_into(s->fd, "f", NULL, 0, 0, &stream, 333, &err), 0);
		assert_text(s->fd, "f", text);
	}
}

static void a_tree_is_copied_unchanged(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	AUTO(pack) p = NULL;
	struct mvm_error err = { 0 };
	char chunk[1000], deep[1024] = "t", name[256];
	const struct timespec times[2] = { { 1, 2 }, { -5, 123456789 } };
	struct stat st;
	AUTO_DONE(strbuf) note = { 0 };

	assert_int_equal(mkdirat(s->fd, "t", 0755), 0);
	memset(name, 'n', 200);
	name[200] = '\0';
	for (int i = 0; i < 3; i++) { /* too long for a ustar header */
		strcat(strcat(deep, "/"), name);
		assert_int_equal(mkdirat(s->fd, deep, 0755), 0);
	}
	strcat(deep, "/file");
	assert_int_equal(file_create_at(s->fd, deep, "deep", 4, 0600), 0);
	assert_int_equal(utimensat(s->fd, deep, times, 0), 0);
	assert_int_equal(symlinkat(deep, s->fd, "t/long"), 0);
	assert_int_equal(file_create_at(s->fd, "t/empty", "", 0, 0400), 0);
	assert_int_equal(mkfifoat(s->fd, "t/pipe", 0600), 0);

	assert_int_equal(pack_open(s->fd, "t", "t", 0, &p, &err), 0);
	ssize_t n;
	while ((n = pack_read(p, chunk, sizeof(chunk), &err)) > 0)
		strbuf_add(&stream, chunk, (size_t)n);
	assert_int_equal(n, 0);
	pack_note(p, &note);
	assert_string_equal(note.data, "left out 1 devices, pipes or sockets: 't/pipe'");

	assert_int_equal(unpack_into(s->fd, "copy", NULL, 0, 0, &stream, 333, &err), 0);
	char copied[1100];
	snprintf(copied, sizeof(copied), "copy%s", deep + 1);
	assert_text(s->fd, copied, "deep");
	assert_int_equal(fstatat(s->fd, copied, &st, 0), 0);
	assert_int_equal(st.st_mtim.tv_sec, -5);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	char target[1100] = { 0 };
	assert_int_equal(readlinkat(s->fd, "copy/long", target, sizeof(target)), strlen(deep));
	assert_string_equal(target, deep);
	assert_int_equal(fstatat(s->fd, "copy/empty", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_false(is_there(s->fd, "copy/pipe"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_written_outside, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(a_link_is_replaced_and_not_written_through,
						scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(devices_and_proc_links_are_not_replaced,
						scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(only_the_requested_file_is_unpacked, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(a_copy_can_have_another_name, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(the_umask_limits_a_guests_modes, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(new_files_have_the_given_owner, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(limits_hold, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(equal_files_are_not_touched, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(a_stream_that_is_cut_leaves_whole_files_only,
						scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(a_copy_that_is_killed_leaves_no_half_a_file,
						scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(zeros_take_no_room, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(times_are_written_as_pax_has_them, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(a_file_of_proc_is_copied_whole, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(a_tree_is_copied_unchanged, scratch_setup,
						scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <mvm/instance.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "copy/pack.h"
#include "copy/unpack.h"
#include "instance/volume_place.h"
#include "scratch.h"

static void put(struct strbuf *to, enum tar_type type, const char *path, const char *text)
{
	const struct tar_entry e = {
		.type = type,
		.path = path,
		.target = type == TAR_SYMLINK ? text : "",
		.mode = type == TAR_FOLDER ? 0755 : 0644,
		.size = type == TAR_FILE ? strlen(text) : 0,
		.mtime_s = 1000000000,
	};
	tar_write_header(to, &e);
	if (type == TAR_FILE) {
		strbuf_adds(to, text);
		tar_write_padding(to, e.size);
	}
}

static int unpack(int dir_fd, const char *path, unsigned flags, const struct strbuf *stream,
		  struct mvm_error *err)
{
	const struct unpack_options o = {
		.dir_fd = dir_fd,
		.path = path,
		.name = flags & UNPACK_CONTENTS ? NULL : path,
		.flags = flags | UNPACK_GO_ON,
	};
	AUTO(unpack) u = NULL;
	int r = unpack_open(&o, &u, err);
	if (r == 0)
		r = unpack_write(u, stream->data, stream->len, err);
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

/* The absolute path of a file in the scratch folder.  The caller frees it. */
static char *host_path(const struct scratch *s, const char *name)
{
	char fd[FD_PATH_SIZE];
	fd_path(s->fd, fd);
	AUTO_FREE char *folder = realpath(fd, NULL);
	assert_non_null(folder);
	char *path = str_printf("%s/%s", folder, name);
	assert_non_null(path);
	return path;
}

static void a_folder_that_becomes_a_link_is_not_left(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(volume_place) place = VOLUME_PLACE_NONE;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	AUTO(pack) p = NULL;
	char chunk[4096];

	assert_int_equal(mkdirat(s->fd, "v", 0755), 0);
	assert_int_equal(mkdirat(s->fd, "victims", 0755), 0);
	assert_int_equal(file_create_at(s->fd, "victims/secret", "s", 1, 0600), 0);
	AUTO_FREE char *host = host_path(s, "v");
	assert_int_equal(volume_place_open(host, RECORD_VOLUME_UNKNOWN, true, &place, &err), 0);
	assert_false(place.is_file);

	assert_int_equal(renameat(s->fd, "v", s->fd, "moved"), 0);
	assert_int_equal(symlinkat("victims", s->fd, "v"), 0);
	put(&stream, TAR_FILE, "new", "mine");
	tar_write_end(&stream);
	assert_int_equal(unpack(place.fd, place.path, UNPACK_CONTENTS, &stream, &err), 0);
	assert_text(s->fd, "moved/new", "mine");
	assert_false(is_there(s->fd, "victims/new"));

	/* nor is the victim read at a restart */
	assert_int_equal(pack_open(place.fd, place.path, ".", 0, &p, &err), 0);
	for (ssize_t n; (n = pack_read(p, chunk, sizeof(chunk), &err)) > 0;)
		assert_null(memmem(chunk, (size_t)n, "secret", 6));
	assert_int_equal(volume_place_open(host, RECORD_VOLUME_UNKNOWN, true,
					   &(struct volume_place)VOLUME_PLACE_NONE, &err),
			 -EPERM);
	assert_non_null(strstr(err.text, "symbolic link"));
}

static void a_file_that_becomes_a_link_is_not_followed(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(volume_place) place = VOLUME_PLACE_NONE;
	AUTO_DONE(strbuf) stream = { 0 };
	static const char *const targets[] = { "victims", "victims/conf" };

	assert_int_equal(mkdirat(s->fd, "victims", 0755), 0);
	assert_int_equal(file_create_at(s->fd, "victims/conf", "safe", 4, 0600), 0);
	assert_int_equal(file_create_at(s->fd, "conf", "old", 3, 0600), 0);
	AUTO_FREE char *host = host_path(s, "conf");
	struct mvm_error err = { 0 };
	assert_int_equal(volume_place_open(host, RECORD_VOLUME_UNKNOWN, true, &place, &err), 0);
	assert_true(place.is_file);
	put(&stream, TAR_FILE, "conf", "evil");
	tar_write_end(&stream);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(targets); i++) {
		assert_int_equal(unlinkat(s->fd, "conf", 0), 0);
		assert_int_equal(symlinkat(targets[i], s->fd, "conf"), 0);
		assert_int_equal(unpack(place.fd, place.path, UNPACK_ONE_FILE, &stream, &err),
				 -EEXIST);
		assert_non_null(strstr(err.text, "no longer a file"));
	}
	assert_text(s->fd, "victims/conf", "safe");
	assert_int_equal(unlinkat(s->fd, "conf", 0), 0);
	assert_int_equal(mkdirat(s->fd, "conf", 0755), 0);
	assert_int_equal(unpack(place.fd, place.path, UNPACK_ONE_FILE, &stream, &err), -EEXIST);
	assert_false(is_there(s->fd, "conf/conf"));
}

static void a_missing_folder_is_made_only_for_files_that_come_back(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(volume_place) place = VOLUME_PLACE_NONE;
	struct mvm_error err = { 0 };
	AUTO_FREE char *host = host_path(s, "none");
	assert_int_equal(volume_place_open(host, RECORD_VOLUME_UNKNOWN, false, &place, &err),
			 -ENOENT);
	assert_int_equal(volume_place_open(host, RECORD_VOLUME_UNKNOWN, true, &place, &err), 0);
	assert_true(is_there(s->fd, "none"));
}

/* It vanished from this host while its VM ran. */
static void a_missing_file_comes_back_as_a_file(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(volume_place) place = VOLUME_PLACE_NONE;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	AUTO_FREE char *host = host_path(s, "conf");

	assert_int_equal(volume_place_open(host, RECORD_VOLUME_FILE, false, &place, &err), -ENOENT);
	assert_int_equal(volume_place_open(host, RECORD_VOLUME_FILE, true, &place, &err), 0);
	assert_true(place.is_file && place.missing);
	assert_false(is_there(s->fd, "conf"));
	put(&stream, TAR_FILE, "conf", "new");
	tar_write_end(&stream);
	assert_int_equal(unpack(place.fd, place.path, UNPACK_ONE_FILE, &stream, &err), 0);
	assert_text(s->fd, "conf", "new");
}

static void a_volume_that_became_something_else_is_left_alone(void **state)
{
	struct scratch *s = *state;
	struct volume_place place = VOLUME_PLACE_NONE;
	struct mvm_error err = { 0 };
	AUTO_FREE char *file = host_path(s, "file"), *folder = host_path(s, "folder");

	assert_int_equal(mkdirat(s->fd, "folder", 0755), 0);
	assert_int_equal(file_create_at(s->fd, "file", "f", 1, 0600), 0);
	for (int make = 0; make <= 1; make++) {
		assert_int_equal(volume_place_open(folder, RECORD_VOLUME_FILE, make, &place, &err),
				 -EEXIST);
		assert_non_null(strstr(err.text, "/folder' is no longer a file"));
		assert_int_equal(volume_place_open(file, RECORD_VOLUME_FOLDER, make, &place, &err),
				 -EEXIST);
		assert_non_null(strstr(err.text, "/file' is no longer a folder"));
	}
	assert_text(s->fd, "file", "f");
}

static void a_file_that_cannot_be_made_costs_no_other(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };

	assert_int_equal(mkdirat(s->fd, "v", 0755), 0);
	assert_int_equal(mkdirat(s->fd, "v/b", 0755), 0); /* a folder in a file's way */
	assert_int_equal(mkdirat(s->fd, "v/c", 0755), 0);
	assert_int_equal(file_create_at(s->fd, "v/d", "host", 4, 0600), 0); /* and the reverse */
	put(&stream, TAR_FILE, "a", "A");
	put(&stream, TAR_FILE, "b", "B");
	put(&stream, TAR_FILE, "c", "");
	put(&stream, TAR_FOLDER, "d/", "");
	put(&stream, TAR_FILE, "d/x", "X");
	put(&stream, TAR_FOLDER, "e/", "");
	put(&stream, TAR_FILE, "e/y", "Y");
	put(&stream, TAR_SYMLINK, "b", "e");
	put(&stream, TAR_FILE, "z", "Z");
	tar_write_end(&stream);
	assert_int_equal(unpack(s->fd, "v", UNPACK_CONTENTS, &stream, &err), -EISDIR);
	assert_string_equal(err.text,
			    "5 files are missing: cannot make 'b': Is a directory; cannot make "
			    "'c': Is a directory; refused: 'd/' passes through 'd', which is no "
			    "folder and others");
	assert_text(s->fd, "v/a", "A");
	assert_text(s->fd, "v/d", "host");
	assert_text(s->fd, "v/e/y", "Y");
	assert_text(s->fd, "v/z", "Z");
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int fd = dir_open_at(s->fd, "v");
	assert_int_equal(dir_list(fd, &names), 0);
	assert_int_equal(names.n, 6); /* and no temporary file */

	/* an entry that leads outside, or is damaged, still ends the copy */
	stream.len = 0;
	put(&stream, TAR_FILE, "../evil", "x");
	tar_write_end(&stream);
	assert_int_equal(unpack(s->fd, "v", UNPACK_CONTENTS, &stream, &err), -EPERM);
	assert_false(is_there(s->fd, "evil"));
}

static void a_link_gives_way_to_a_folder_and_is_not_followed(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	struct mvm_error err = { 0 };
	struct stat st;
	const unsigned flags = UNPACK_CONTENTS | UNPACK_KEEP_SAME | UNPACK_REPLACE_LINKS;

	assert_int_equal(mkdirat(s->fd, "outside", 0755), 0);
	assert_int_equal(mkdirat(s->fd, "v", 0755), 0);
	assert_int_equal(mkdirat(s->fd, "v/v1", 0755), 0);
	assert_int_equal(symlinkat("v1", s->fd, "v/current"), 0);
	assert_int_equal(symlinkat("../outside", s->fd, "v/out"), 0);
	assert_int_equal(symlinkat("nowhere", s->fd, "v/v1/dangling"), 0);
	assert_int_equal(symlinkat("../outside", s->fd, "v/untold"), 0);
	put(&stream, TAR_FOLDER, "current/", "");
	put(&stream, TAR_FILE, "current/f", "F");
	put(&stream, TAR_FOLDER, "out/", "");
	put(&stream, TAR_FILE, "out/g", "G");
	put(&stream, TAR_FOLDER, "v1/", "");
	put(&stream, TAR_FOLDER, "v1/dangling/", "");
	put(&stream, TAR_FILE, "untold/h", "H"); /* the folder has no entry */
	tar_write_end(&stream);
	assert_int_equal(unpack(s->fd, "v", flags, &stream, &err), -ENOTDIR);
	assert_string_equal(err.text, "1 file is missing: refused: 'untold/h' passes through "
				      "'untold', which is no folder");
	assert_text(s->fd, "v/current/f", "F");
	assert_text(s->fd, "v/out/g", "G");
	assert_int_equal(fstatat(s->fd, "v/v1/dangling", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_false(is_there(s->fd, "v/v1/f"));
	assert_false(is_there(s->fd, "outside/g"));
	assert_false(is_there(s->fd, "outside/h"));
	/* without the flag, as in `cp`, links stay */
	assert_int_equal(symlinkat("v1", s->fd, "v/again"), 0);
	stream.len = 0;
	put(&stream, TAR_FOLDER, "again/", "");
	tar_write_end(&stream);
	assert_int_equal(unpack(s->fd, "v", UNPACK_CONTENTS, &stream, &err), -ENOTDIR);
}

static void files_that_cannot_be_packed_are_reported_at_the_end(void **state)
{
	struct scratch *s = *state;
	AUTO_DONE(strbuf) stream = { 0 };
	AUTO(pack) p = NULL;
	struct mvm_error err = { 0 };
	char chunk[4096], path[1024] = "t/deep";

	assert_int_equal(mkdirat(s->fd, "t", 0755), 0);
	for (unsigned i = 0; i < PACK_DEPTH_MAX; i++) {
		assert_int_equal(mkdirat(s->fd, path, 0755), 0);
		strcat(path, "/d");
	}
	assert_int_equal(file_create_at(s->fd, "t/later", "L", 1, 0600), 0);
	assert_int_equal(pack_open(s->fd, "t", ".", PACK_GO_ON, &p, &err), 0);
	ssize_t n;
	while ((n = pack_read(p, chunk, sizeof(chunk), &err)) > 0)
		strbuf_add(&stream, chunk, (size_t)n);
	assert_int_equal(n, -ELOOP);
	assert_non_null(strstr(err.text, "1 of the files could not be read: "));
	assert_int_equal(unpack(s->fd, "copy", UNPACK_CONTENTS, &stream, &err), 0);
	assert_text(s->fd, "copy/later", "L");
}

static void files_that_are_left_out_are_named(void **state)
{
	struct scratch *s = *state;
	AUTO(pack) p = NULL;
	AUTO_DONE(strbuf) note = { 0 };
	struct mvm_error err = { 0 };
	char chunk[4096];

	assert_int_equal(mkdirat(s->fd, "t", 0755), 0);
	for (char name[] = "t/a"; name[2] <= 'd'; name[2]++)
		assert_int_equal(mkfifoat(s->fd, name, 0600), 0);
	assert_int_equal(pack_open(s->fd, "t", ".", 0, &p, &err), 0);
	while (pack_read(p, chunk, sizeof(chunk), &err) > 0)
		;
	pack_note(p, &note);
	assert_string_equal(note.data, "left out 4 devices, pipes or sockets: './a'; './b'; './c' "
				       "and others");
}

static void volumes_filled_by_hand_are_checked(void **state)
{
	struct scratch *s = *state;
	assert_int_equal(mkdirat(s->fd, "a", 0755), 0);
	assert_int_equal(mkdirat(s->fd, "a/b", 0755), 0);
	assert_int_equal(symlinkat("a", s->fd, "link"), 0);
	AUTO_FREE char *a = host_path(s, "a");
	AUTO_FREE char *b = host_path(s, "a/b");
	AUTO_FREE char *link = host_path(s, "link");
	const struct {
		struct {
			const char *host, *guest, *name;
			bool write_back;
		} v[2];
		size_t n;
		int code;
		const char *says;
	} cases[] = {
		{ { { a, "/x", NULL, true } }, 1, 0, "" },
		{ { { a, NULL, NULL, true } }, 1, -EINVAL, "absolute path" },
		{ { { a, "x", NULL, true } }, 1, -EINVAL, "absolute path" },
		{ { { NULL, "/x", NULL, true } }, 1, -EINVAL, "or a name" },
		{ { { a, "/x", "name", true } }, 1, -EINVAL, "not both" },
		{ { { "a", "/x", NULL, true } }, 1, -EINVAL, "absolute path" },
		{ { { NULL, "/x", "../up", true } }, 1, -EINVAL, "../up" },
		{ { { a, "/x/../y", NULL, true } }, 1, -EINVAL, "without '..'" },
		{ { { a, "//proc/.", NULL, true } }, 1, -EINVAL, "the guest's own" },
		{ { { a, "/", NULL, true } }, 1, -EINVAL, "the guest's own" },
		{ { { "/dev/null", "/x", NULL, true } }, 1, -ENOTDIR, "neither folder nor file" },
		{ { { a, "/x", NULL, true }, { b, "/x/./y", NULL, false } },
		  2,
		  -EINVAL,
		  "overlap" },
		{ { { a, "/x", NULL, true }, { a, "/y", NULL, true } }, 2, -EINVAL, "both" },
		{ { { a, "/x", NULL, true }, { b, "/y", NULL, true } }, 2, -EINVAL, "both" },
		{ { { b, "/x", NULL, true }, { link, "/y", NULL, true } }, 2, -EINVAL, "both" },
		{ { { "/", "/x", NULL, true }, { a, "/y", NULL, true } }, 2, -EINVAL, "both" },
		{ { { a, "/x", NULL, true }, { a, "/y", NULL, false } }, 2, 0, "" },
		{ { { a, "/x", NULL, false }, { b, "/y", NULL, false } }, 2, 0, "" },
		{ { { NULL, "/x", "n", true }, { NULL, "/y", "n", false } }, 2, -EINVAL, "twice" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		struct mvm_volume v[2] = { 0 };
		for (size_t k = 0; k < cases[i].n; k++)
			v[k] = (struct mvm_volume){
				.host = (char *)cases[i].v[k].host,
				.guest = (char *)cases[i].v[k].guest,
				.name = (char *)cases[i].v[k].name,
				.write_back = cases[i].v[k].write_back,
			};
		assert_int_equal(mvm_volumes_check(v, cases[i].n, &err), cases[i].code);
		assert_non_null(strstr(err.text, cases[i].says));
	}
	struct mvm_error err = { 0 };
	static const struct mvm_volume none[MVM_VOLUMES_MAX + 1];
	assert_int_equal(mvm_volumes_check(none, MVM_VOLUMES_MAX + 1, &err), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_folder_that_becomes_a_link_is_not_left),
		TEST(a_file_that_becomes_a_link_is_not_followed),
		TEST(a_missing_folder_is_made_only_for_files_that_come_back),
		TEST(a_missing_file_comes_back_as_a_file),
		TEST(a_volume_that_became_something_else_is_left_alone),
		TEST(a_file_that_cannot_be_made_costs_no_other),
		TEST(a_link_gives_way_to_a_folder_and_is_not_followed),
		TEST(files_that_cannot_be_packed_are_reported_at_the_end),
		TEST(files_that_are_left_out_are_named),
		TEST(volumes_filled_by_hand_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

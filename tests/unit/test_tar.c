/* SPDX-License-Identifier: Apache-2.0 */
#include "image_util.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>

#include "base/str.h"
#include "image/image.h"
#include "image/layer.h"

/* One entry of a tar that a test makes. */
struct item {
	const char *path;
	mode_t type;	  /* AE_IF*; 0 with `hard`: a hard link */
	const char *text; /* contents, or where a link points */
	bool hard;
};

#define FILTER_NONE NULL

static void write_tar(const char *name, const char *filter, const struct item *items, size_t n)
{
	AUTO_CLOSE int fd = open_image(name);
	struct archive *a = archive_write_new();

	assert_non_null(a);
	assert_int_equal(archive_write_set_format_pax_restricted(a), ARCHIVE_OK);
	if (filter)
		assert_true(archive_write_add_filter_by_name(a, filter) >= ARCHIVE_WARN);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *e = archive_entry_new();
		const struct item *item = &items[i];
		archive_entry_set_pathname(e, item->path);
		archive_entry_set_filetype(e, item->type ? item->type : AE_IFREG);
		archive_entry_set_perm(e, item->type == AE_IFDIR ? 0755 : 0644);
		archive_entry_set_uid(e, 1000);
		archive_entry_set_gid(e, 100000);
		archive_entry_set_mtime(e, 1700000000, 0);
		archive_entry_set_size(e, 0);
		if (item->hard)
			archive_entry_set_hardlink(e, item->text);
		else if (item->type == AE_IFLNK)
			archive_entry_set_symlink(e, item->text);
		else if (item->type == AE_IFCHR) {
			archive_entry_set_rdevmajor(e, 5);
			archive_entry_set_rdevminor(e, 1);
		} else if (item->text)
			archive_entry_set_size(e, (la_int64_t)strlen(item->text));
		if (item->type == AE_IFREG)
			archive_entry_xattr_add_entry(e, "user.origin", "tar", 3);
		assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
		if (item->text && !item->hard && item->type == AE_IFREG)
			archive_write_data(a, item->text, strlen(item->text));
		archive_entry_free(e);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

static int scan(const char *name, const struct layer_limits *limits, struct tree **ret,
		struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(work_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	const struct layer_source tar = {
		.fd = fd, .size = (uint64_t)st.st_size, .name = name, .alone = true
	};
	return layers_scan(&tar, 1, 0, limits, ret, err);
}

static int build(const char *name, const char *image, struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(work_fd, name, O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int out = open_image(image);
	assert_true(fd >= 0);
	return image_from_tar(fd, name, out, NULL, err);
}

static const struct item root_items[] = {
	{ "./", AE_IFDIR, NULL, false },
	{ "./etc/", AE_IFDIR, NULL, false },
	{ "./etc/hostname", AE_IFREG, "mvm\n", false },
	{ "/dev/console", AE_IFCHR, NULL, false },
	{ "usr/bin/tool", AE_IFREG, "tool\n", false },
	{ "usr/bin/same", 0, "./usr/bin/tool", true },
	{ "bin", AE_IFLNK, "usr/bin", false },
	{ "run/fifo", AE_IFIFO, NULL, false },
	{ "etc/hostname", AE_IFREG, "later wins\n", false },
	{ "etc", AE_IFDIR, NULL, false },
	{ "na\xc3\xafve/\xff", AE_IFREG, "bytes\n", false },
};

static void every_kind_of_entry_arrives(void **state)
{
	(void)state;
	static const struct {
		const char *command, *says;
	} cases[] = {
		{ "cat /etc/hostname", "later wins" },
		{ "stat /etc/hostname", "User:  1000   Group: 100000" },
		{ "stat /etc/hostname", "mtime: 0x6553f100" },
		{ "ea_get /etc/hostname user.origin", "tar" },
		{ "stat /dev/console", "Device major/minor number: 05:01" },
		{ "stat /dev", "User:     0   Group:     0" },
		{ "stat /dev", "Mode:  0755" },
		{ "cat /usr/bin/same", "tool" },
		{ "stat /usr/bin/tool", "Links: 2" },
		{ "stat /bin", "Fast link dest: \"usr/bin\"" },
		{ "stat /run/fifo", "Type: FIFO" },
		{ "cat /na\xc3\xafve/\xff", "bytes" },
	};
	struct mvm_error err = { 0 };

	write_tar("root.tar", FILTER_NONE, root_items, MVM_ARRAY_SIZE(root_items));
	int r = build("root.tar", "root.img", &err);
	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
	assert_clean("root.img");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *out = debugfs("root.img", cases[i].command);
		if (!strstr(out, cases[i].says))
			print_error("%s: '%s' not in:\n%s\n", cases[i].command, cases[i].says, out);
		assert_non_null(strstr(out, cases[i].says));
	}
}

static void every_compression_gives_the_same_image(void **state)
{
	(void)state;
	static const char *const filters[] = { "gzip", "bzip2", "xz", "zstd", "lz4" };

	write_tar("plain.tar", FILTER_NONE, root_items, MVM_ARRAY_SIZE(root_items));
	assert_int_equal(build("plain.tar", "plain.img", NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(filters); i++) {
		write_tar("packed.tar", filters[i], root_items, MVM_ARRAY_SIZE(root_items));
		assert_int_equal(build("packed.tar", "packed.img", NULL), 0);
		assert_same_files("plain.img", "packed.img");
	}
}

static void hostile_entries_are_refused_by_name(void **state)
{
	(void)state;
	static const struct {
		struct item items[3];
		const char *says;
	} cases[] = {
		{ { { "../etc/passwd", AE_IFREG, "x", false } }, "leaves the tree by '..'" },
		{ { { "a/../../b", AE_IFREG, "x", false } }, "leaves the tree by '..'" },
		{ { { "a/..", AE_IFDIR, NULL, false } }, "leaves the tree by '..'" },
		{ { { "f", AE_IFREG, "x", false }, { "f/g", AE_IFREG, "x", false } },
		  "has a parent that is no folder" },
		{ { { "h", 0, "../../etc/shadow", true } },
		  "its target '../../etc/shadow' leaves the tree by '..'" },
		{ { { "l", AE_IFLNK, "/etc", false }, { "h", 0, "l/shadow", true } },
		  "is a hard link to a file that does not precede it" },
		{ { { "d", AE_IFDIR, NULL, false }, { "h", 0, "d", true } },
		  "is a hard link to a folder" },
		{ { { "d/f", AE_IFREG, "x", false }, { "d", 0, "d/f", true } },
		  "replaces the folder that holds its target" },
		{ { { "/", AE_IFLNK, "x", false } },
		  "replaces the root folder with another kind of file" },
	};

	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		AUTO(tree) t = NULL;
		size_t n = 0;
		while (n < 3 && cases[i].items[n].path)
			n++;
		write_tar("bad.tar", FILTER_NONE, cases[i].items, n);
		int r = scan("bad.tar", NULL, &t, &err);
		if (r != -EINVAL || !strstr(err.text, cases[i].says))
			print_error("case %zu: %d, '%s'\n", i, r, err.text);
		assert_int_equal(r, -EINVAL);
		assert_non_null(strstr(err.text, cases[i].says));
		assert_non_null(strstr(err.text, "'bad.tar'"));
		assert_null(t);
	}
}

static void later_entries_replace_earlier_ones(void **state)
{
	(void)state;
	static const struct item items[] = {
		{ "a/b/c", AE_IFREG, "1", false },  { "a", AE_IFREG, "22", false },
		{ "a", AE_IFLNK, "x", false },	    { "a", AE_IFDIR, NULL, false },
		{ "a/f", AE_IFREG, "333", false },  { "g", 0, "a/f", true },
		{ "a/f", AE_IFREG, "4444", false }, { "g", 0, "g", true },
	};
	AUTO(tree) t = NULL;
	struct tree_node *n;

	write_tar("later.tar", FILTER_NONE, items, MVM_ARRAY_SIZE(items));
	assert_int_equal(scan("later.tar", NULL, &t, NULL), 0);
	assert_int_equal(t->n_nodes, 4);
	assert_int_equal(tree_find(t, "a/f", &n), 0);
	assert_int_equal(n->inode->size, 4);
	assert_int_equal(tree_find(t, "g", &n), 0);
	assert_int_equal(n->inode->size, 3);
	assert_int_equal(t->file_bytes, 7);

	assert_int_equal(build("later.tar", "later.img", NULL), 0);
	assert_clean("later.img");
	AUTO_FREE char *old = debugfs("later.img", "cat /g");
	AUTO_FREE char *new = debugfs("later.img", "cat /a/f");
	assert_string_equal(old, "333");
	assert_string_equal(new, "4444");
}

static void a_stream_that_is_cut_is_damaged(void **state)
{
	(void)state;
	static const char *const filters[] = { FILTER_NONE, "gzip", "xz", "zstd" };

	for (size_t f = 0; f < MVM_ARRAY_SIZE(filters); f++) {
		AUTO_FREE char *data = NULL;
		size_t len;
		write_tar("whole.tar", filters[f], root_items, MVM_ARRAY_SIZE(root_items));
		assert_int_equal(file_read_at(work_fd, "whole.tar", 1 << 20, &data, &len), 0);
		/* the plain tar ends in 10240 bytes of padding: cut before that */
		size_t end = filters[f] ? len - 1 : len;
		while (!filters[f] && end > 0 && data[end - 1] == 0)
			end--;
		for (size_t cut = 0; cut < end; cut += filters[f] ? 37 : 512) {
			struct mvm_error err = { 0 };
			AUTO(tree) t = NULL;
			put_file("cut.tar", data, cut, 0600);
			int r = scan("cut.tar", NULL, &t, &err);
			if (r != -EBADMSG)
				print_error("cut at %zu of %zu: %d %s\n", cut, len, r, err.text);
			assert_int_equal(r, -EBADMSG);
			assert_non_null(strstr(err.text, "'cut.tar' is damaged"));
		}
	}
}

static void bombs_hit_a_limit(void **state)
{
	(void)state;
	static const struct layer_limits few = { .tree = { .nodes = 4 } };
	static const struct layer_limits small = { .unpacked_bytes = 5 };
	static const struct item same[] = {
		{ "f", AE_IFREG, "123456", false },
		{ "f", AE_IFREG, "123456", false },
	};
	AUTO(tree) t = NULL;

	write_tar("root.tar", FILTER_NONE, root_items, MVM_ARRAY_SIZE(root_items));
	assert_int_equal(scan("root.tar", &few, &t, NULL), -EFBIG);
	assert_int_equal(scan("root.tar", &small, &t, NULL), -EFBIG);
	write_tar("same.tar", FILTER_NONE, same, MVM_ARRAY_SIZE(same));
	assert_int_equal(scan("same.tar", &small, &t, NULL), -EFBIG);
	assert_null(t);
}

static void a_map_of_holes_without_end_is_refused(void **state)
{
	(void)state;
	const size_t len = (17u << 20);
	AUTO_FREE char *tar = make_endless_header(len);
	struct mvm_error err = { 0 };
	AUTO(tree) t = NULL;

	put_file("map.tar", tar, len, 0600);
	assert_int_equal(scan("map.tar", NULL, &t, &err), -EFBIG);
	assert_string_equal(err.text, "'map.tar': an entry has a header of more than 16 MiB");
}

static void links_are_followed_inside_the_tree(void **state)
{
	(void)state;
	static const struct item items[] = {
		{ "usr/bin", AE_IFDIR, NULL, false }, { "bin", AE_IFLNK, "usr/bin", false },
		{ "bin/b", AE_IFREG, "b", false },    { "same", 0, "bin/b", true },
		{ "out", AE_IFLNK, "/etc", false },   { "out/passwd", AE_IFREG, "x", false },
	};
	AUTO(tree) t = NULL;
	struct tree_node *n;

	write_tar("links.tar", FILTER_NONE, items, MVM_ARRAY_SIZE(items));
	assert_int_equal(scan("links.tar", NULL, &t, NULL), 0);
	assert_int_equal(tree_find(t, "usr/bin/b", &n), 0);
	assert_int_equal(n->inode->nlink, 2);
	assert_int_equal(tree_find(t, "bin", &n), 0);
	assert_int_equal(n->inode->type, TREE_SYMLINK);
	assert_int_equal(tree_find(t, "etc/passwd", &n), 0);
}

static void a_file_that_is_no_tar_is_reported_so(void **state)
{
	(void)state;
	static const char *const texts[] = { "", "hello", "\x1f\x8b\x08 not gzip really" };

	for (size_t i = 0; i < MVM_ARRAY_SIZE(texts); i++) {
		struct mvm_error err = { 0 };
		put_text("no.tar", texts[i], 0600);
		assert_int_equal(build("no.tar", "no.img", &err), -EBADMSG);
		assert_non_null(strstr(err.text, "'no.tar'"));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_entry_arrives),
		cmocka_unit_test(every_compression_gives_the_same_image),
		cmocka_unit_test(hostile_entries_are_refused_by_name),
		cmocka_unit_test(later_entries_replace_earlier_ones),
		cmocka_unit_test(a_stream_that_is_cut_is_damaged),
		cmocka_unit_test(bombs_hit_a_limit),
		cmocka_unit_test(a_map_of_holes_without_end_is_refused),
		cmocka_unit_test(links_are_followed_inside_the_tree),
		cmocka_unit_test(a_file_that_is_no_tar_is_reported_so),
	};
	unsetenv("SOURCE_DATE_EPOCH"); /* cannot fail for this name */
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}

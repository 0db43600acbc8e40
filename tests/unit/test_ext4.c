/* SPDX-License-Identifier: Apache-2.0 */
#include "image_util.h"

#include "image/ext4.h"

static struct tree_node *must_add(struct tree *t, struct tree_node *parent, const char *name,
				  enum tree_type type, const char *target)
{
	struct tree_node *n;
	assert_int_equal(tree_add(t, parent, name, type, target, &n, NULL), 0);
	n->inode->mode = type == TREE_FOLDER ? 0755 : 0644;
	return n;
}

static struct tree_node *add_file(struct tree *t, const char *name, uint64_t size)
{
	struct tree_node *n = must_add(t, t->root, name, TREE_FILE, NULL);
	assert_int_equal(tree_set_size(t, n->inode, size, NULL), 0);
	return n;
}

static struct tree *new_tree(void)
{
	struct tree *t;
	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	return t;
}

/* Make an image of a tree; `fill` writes the contents.  Then check it. */
static void make_image(const char *image, struct tree *t, void (*fill)(struct ext4_writer *),
		       const struct ext4_options *o)
{
	static const struct ext4_options defaults = { 0 };
	struct mvm_error err = { 0 };
	AUTO(ext4_writer) w = NULL;
	AUTO_CLOSE int fd = open_image(image);

	assert_int_equal(tree_seal(t, NULL), 0);
	int r = ext4_begin(fd, t, o ? o : &defaults, &w, &err);
	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
	if (fill)
		fill(w);
	r = ext4_finish(w, &err);
	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
	assert_clean(image);
}

/* Read the file back with debugfs, and compare. */
static void assert_contents(const char *image, const char *path, const void *data, size_t len)
{
	char command[128];
	AUTO_FREE char *got = NULL;
	size_t got_len;

	snprintf(command, sizeof(command), "dump %s dumped", path);
	free(debugfs(image, command));
	assert_int_equal(file_read_at(work_fd, "dumped", 256u << 20, &got, &got_len), 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, data, len);
}

static void an_empty_tree_is_a_clean_file_system(void **state)
{
	(void)state;
	AUTO(tree) t = new_tree();
	make_image("empty", t, NULL, NULL);
	AUTO_FREE char *out = debugfs("empty", "ls -p /");
	assert_non_null(strstr(out, "/lost+found/"));
}

static void data_disks_have_the_size_that_was_asked_for(void **state)
{
	(void)state;
	static const uint64_t sizes_mib[] = { 4, 16, 127, 128, 129, 1024, 5000 };

	for (size_t i = 0; i < MVM_ARRAY_SIZE(sizes_mib); i++) {
		struct ext4_options o = { .size_bytes = sizes_mib[i] << 20, .label = "data" };
		AUTO(tree) t = new_tree();
		struct stat st;
		make_image("disk", t, NULL, &o);
		assert_int_equal(fstatat(work_fd, "disk", &st, 0), 0);
		assert_int_equal(st.st_size, sizes_mib[i] << 20);
		assert_true(st.st_blocks * 512 < st.st_size / 4); /* sparse */
	}
}

static uint8_t pattern[3u << 20];

static void fill_sizes(struct ext4_writer *w);
static struct tree *sizes_tree;
static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 65536, 65537, 1048576, 1048577, 3145728 };

static void fill_sizes(struct ext4_writer *w)
{
	/* in another order than the tree's, in pieces of odd sizes */
	for (size_t i = MVM_ARRAY_SIZE(sizes); i-- > 0;) {
		struct tree_node *n = sizes_tree->root->children[i];
		for (size_t at = 0, len; at < sizes[i]; at += len) {
			len = sizes[i] - at < 70001 ? sizes[i] - at : 70001;
			assert_int_equal(ext4_write(w, n, at, pattern + at, len, NULL), 0);
		}
	}
}

static void contents_of_every_size_read_back(void **state)
{
	(void)state;
	AUTO(tree) t = new_tree();
	char name[16];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 2654435761u >> 13 | 1);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "f%zu", i);
		add_file(t, name, sizes[i]);
	}
	sizes_tree = t;
	make_image("sizes", t, fill_sizes, NULL);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "/f%zu", i);
		assert_contents("sizes", name, pattern, sizes[i]);
	}
}

#define COMB_SIZE (64u << 20)
static uint8_t *comb;
static struct tree_node *comb_node;

static void fill_comb(struct ext4_writer *w)
{
	assert_int_equal(ext4_write(w, comb_node, 0, comb, COMB_SIZE, NULL), 0);
}

static void files_with_many_holes_have_an_extent_tree(void **state)
{
	(void)state;
	AUTO(tree) t = new_tree();
	struct stat st;

	/* 512 extents: too many for one block of the extent tree */
	comb = calloc(1, COMB_SIZE);
	assert_non_null(comb);
	for (size_t at = 0; at < COMB_SIZE; at += 131072)
		comb[at + 5] = 1;
	comb_node = add_file(t, "comb", COMB_SIZE);
	make_image("comb.img", t, fill_comb, NULL);
	assert_contents("comb.img", "/comb", comb, COMB_SIZE);
	assert_int_equal(fstatat(work_fd, "comb.img", &st, 0), 0);
	assert_true(st.st_blocks * 512 < (40 << 20));
	free(comb);
}

static void a_large_hole_costs_nothing(void **state)
{
	(void)state;
	AUTO(tree) t = new_tree();
	struct stat st;

	add_file(t, "huge", UINT64_C(20) << 30);
	make_image("huge.img", t, NULL, NULL);
	assert_int_equal(fstatat(work_fd, "huge.img", &st, 0), 0);
	assert_true(st.st_blocks * 512 < (64 << 20));
	AUTO_FREE char *out = debugfs("huge.img", "stat /huge");
	assert_non_null(strstr(out, "Size: 21474836480"));
}

#define FAR (UINT64_C(5) << 30)
static struct tree_node *far_node;

static void fill_far(struct ext4_writer *w)
{
	assert_int_equal(ext4_write(w, far_node, 4, "begin", 5, NULL), 0);
	assert_int_equal(ext4_write(w, far_node, FAR + 7, "end", 3, NULL), 0);
}

static void contents_beyond_4_gib_are_where_they_belong(void **state)
{
	(void)state;
	AUTO(tree) t = new_tree();
	char command[64], text[8] = "";

	far_node = add_file(t, "far", FAR + 10);
	make_image("far.img", t, fill_far, NULL);
	snprintf(command, sizeof(command), "bmap /far %llu", (unsigned long long)FAR / 4096);
	AUTO_FREE char *out = debugfs("far.img", command);
	off_t block = (off_t)strtoull(out, NULL, 10);
	assert_true(block > 0);
	AUTO_CLOSE int fd = openat(work_fd, "far.img", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, text, 3, block * 4096 + 7), 3);
	assert_string_equal(text, "end");
	AUTO_FREE char *stat_out = debugfs("far.img", "stat /far");
	assert_non_null(strstr(stat_out, "Size: 5368709130"));
}

static void large_folders_keep_every_name(void **state)
{
	(void)state;
	AUTO(tree) t = new_tree();
	struct tree_node *d = must_add(t, t->root, "d", TREE_FOLDER, NULL);
	char name[64];

	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "a-rather-long-name-%06d", i);
		must_add(t, d, name, i % 3 ? TREE_FILE : TREE_FOLDER, NULL);
	}
	make_image("names", t, NULL, NULL);
	AUTO_FREE char *out = debugfs("names", "ls -p /d");
	size_t lines = 0;
	for (const char *p = out; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	assert_int_equal(lines, 20000 + 3);
}

static void every_kind_of_file_is_kept(void **state)
{
	(void)state;
	static const struct {
		const char *command, *says;
	} cases[] = {
		{ "stat /short", "Fast link dest: \"short target\"" },
		{ "cat /long", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" },
		{ "stat /console", "Device major/minor number: 05:01" },
		{ "stat /disk", "Device major/minor number: 259:70000" },
		{ "stat /fifo", "Type: FIFO" },
		{ "stat /owned", "User: 100000   Group: 2000000" },
		{ "stat /owned", "Mode:  06755" },
		{ "stat /owned", "Links: 3" },
		{ "stat /late", "mtime: 0xee6b2800:00000001" },
		{ "ea_get /owned user.note", "hello" },
		{ "ea_get -V /owned user.large", "zzzzzzzzzzzzzzzz" },
	};
	AUTO(tree) t = new_tree();
	char target[1000], value[2000];

	memset(target, 'x', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	memset(value, 'z', sizeof(value));
	must_add(t, t->root, "short", TREE_SYMLINK, "short target");
	must_add(t, t->root, "long", TREE_SYMLINK, target);
	struct tree_node *n = must_add(t, t->root, "console", TREE_CHAR, NULL);
	n->inode->major = 5;
	n->inode->minor = 1;
	n = must_add(t, t->root, "disk", TREE_BLOCK, NULL);
	n->inode->major = 259;
	n->inode->minor = 70000;
	must_add(t, t->root, "fifo", TREE_FIFO, NULL);
	must_add(t, t->root, "socket", TREE_SOCKET, NULL);
	n = must_add(t, t->root, "late", TREE_FILE, NULL);
	n->inode->mtime = INT64_C(4000000000); /* in 2096: needs the extra bits */
	n = must_add(t, t->root, "owned", TREE_FILE, NULL);
	n->inode->uid = 100000;
	n->inode->gid = 2000000;
	n->inode->mode = 06755;
	assert_int_equal(tree_link(t, t->root, "also", n, NULL), 0);
	assert_int_equal(tree_link(t, t->root, "and", n, NULL), 0);
	assert_int_equal(tree_set_xattr(t, n->inode, "user.note", "hello", 5, NULL), 0);
	assert_int_equal(tree_set_xattr(t, n->inode, "user.large", value, sizeof(value), NULL), 0);
	make_image("kinds", t, NULL, NULL);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *out = debugfs("kinds", cases[i].command);
		if (!strstr(out, cases[i].says))
			print_error("%s: '%s' not in:\n%s\n", cases[i].command, cases[i].says, out);
		assert_non_null(strstr(out, cases[i].says));
	}
}

static void the_tree_may_bring_its_own_lost_and_found(void **state)
{
	(void)state;
	AUTO(tree) t = new_tree();
	AUTO(tree) bad = new_tree();
	struct ext4_options o = { 0 };
	AUTO(ext4_writer) w = NULL;
	AUTO_CLOSE int fd = open_image("never");

	must_add(t, t->root, "lost+found", TREE_FOLDER, NULL);
	make_image("lost", t, NULL, NULL);
	must_add(bad, bad->root, "lost+found", TREE_FILE, NULL);
	assert_int_equal(tree_seal(bad, NULL), 0);
	assert_int_equal(ext4_begin(fd, bad, &o, &w, NULL), -EINVAL);
}

static void a_size_that_is_too_small_is_refused(void **state)
{
	(void)state;
	struct ext4_options o = { .size_bytes = 4 << 20 };
	struct mvm_error err = { 0 };
	AUTO(tree) t = new_tree();
	AUTO(ext4_writer) w = NULL;
	AUTO_CLOSE int fd = open_image("small");

	add_file(t, "f", 8 << 20);
	assert_int_equal(tree_seal(t, NULL), 0);
	assert_int_equal(ext4_begin(fd, t, &o, &w, &err), -ENOSPC);
	assert_string_equal(err.text, "an image of 4 MiB is too small for the files, which take "
				      "10 MiB");
}

static void a_file_that_ext4_cannot_hold_is_named(void **state)
{
	(void)state;
	static const char value[5000];
	static const struct {
		enum tree_type type;
		uint64_t size;
		bool written;
	} cases[] = {
		{ TREE_FOLDER, 0, false },
		{ TREE_FIFO, 0, false },
		{ TREE_FILE, 0, false },
		{ TREE_FILE, 1, true },
	};

	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct ext4_options o = { 0 };
		struct mvm_error err = { 0 };
		AUTO(tree) t = new_tree();
		AUTO(ext4_writer) w = NULL;
		AUTO_CLOSE int fd = open_image("refused");

		struct tree_node *d = must_add(t, t->root, "d", TREE_FOLDER, NULL);
		struct tree_node *n = must_add(t, d, "n", cases[i].type, NULL);
		assert_int_equal(tree_set_size(t, n->inode, cases[i].size, NULL), 0);
		assert_int_equal(tree_set_xattr(t, n->inode, "user.a", value, sizeof(value), NULL),
				 0);
		assert_int_equal(tree_seal(t, NULL), 0);
		int r = ext4_begin(fd, t, &o, &w, &err);
		if (r == 0 && cases[i].written)
			r = ext4_write(w, n, 0, "x", 1, &err);
		if (r == 0)
			r = ext4_finish(w, &err);
		assert_int_equal(r, -EFBIG);
		assert_string_equal(err.text,
				    "'d/n': its extended attributes take more than 4 KiB");
	}
}

static void contents_must_fit_and_come_once(void **state)
{
	(void)state;
	struct ext4_options o = { 0 };
	AUTO(tree) t = new_tree();
	AUTO(ext4_writer) w = NULL;
	AUTO_CLOSE int fd = open_image("once");

	struct tree_node *a = add_file(t, "a", 10), *b = add_file(t, "b", 10);
	assert_int_equal(tree_seal(t, NULL), 0);
	assert_int_equal(ext4_begin(fd, t, &o, &w, NULL), 0);
	assert_int_equal(ext4_write(w, a, 5, "12345", 5, NULL), 0);
	assert_int_equal(ext4_write(w, a, 10, "6", 1, NULL), -EINVAL);
	assert_int_equal(ext4_write(w, a, 0, "6", 1, NULL), -EINVAL);
	assert_int_equal(ext4_write(w, b, 11, "6", 1, NULL), -EINVAL);
	assert_int_equal(ext4_write(w, a, 0, "6", 1, NULL), -EINVAL);
	assert_int_equal(ext4_finish(w, NULL), 0);
	assert_clean("once");
	assert_contents("once", "/a",
			"\0\0\0\0\0"
			"12345",
			10);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_tree_is_a_clean_file_system),
		cmocka_unit_test(data_disks_have_the_size_that_was_asked_for),
		cmocka_unit_test(contents_of_every_size_read_back),
		cmocka_unit_test(files_with_many_holes_have_an_extent_tree),
		cmocka_unit_test(a_large_hole_costs_nothing),
		cmocka_unit_test(contents_beyond_4_gib_are_where_they_belong),
		cmocka_unit_test(large_folders_keep_every_name),
		cmocka_unit_test(every_kind_of_file_is_kept),
		cmocka_unit_test(the_tree_may_bring_its_own_lost_and_found),
		cmocka_unit_test(a_size_that_is_too_small_is_refused),
		cmocka_unit_test(a_file_that_ext4_cannot_hold_is_named),
		cmocka_unit_test(contents_must_fit_and_come_once),
	};
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}

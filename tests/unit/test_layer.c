/* SPDX-License-Identifier: Apache-2.0 */
#include "corpus_table.h"
#include "layer_input.h"

/* List all names, each with a sign for its type: - file, / folder, @ link, c b device, p fifo. */
static void show(const struct tree_node *folder, struct strbuf *ret)
{
	for (size_t i = 0; i < folder->n_children; i++) {
		const struct tree_node *n = folder->children[i];
		char path[TREE_PATH_SIZE];
		tree_path(n, path);
		strbuf_addf(ret, "%s%s%c", ret->len ? " " : "", path, "?-/@cbps"[n->inode->type]);
		if (n->inode->type == TREE_FOLDER)
			show(n, ret);
	}
}

static int merge(const char *text, size_t len, struct strbuf *ret_shown, struct mvm_error *err)
{
	AUTO_DONE(layer_input) in = LAYER_INPUT_NONE;
	AUTO(tree) t = NULL;

	assert_int_equal(layer_input_read((const uint8_t *)text, len, &in), 0);
	int r = layers_scan(in.layers, in.n, 0, &layer_input_limits, &t, err);
	if (r < 0)
		return r;
	show(t->root, ret_shown);
	return layers_read(in.layers, in.n, &layer_input_limits, t, layer_input_check, NULL, err);
}

static const struct expected hostile_layers[] = {
	{ "absolute", 0, "etc/ etc/passwd-" },
	{ "aufs-links", 0, "a- b- d/" },
	{ "aufs-links-end-with-their-layer", -EINVAL,
	  "entry 'a' is a hard link to a file that does not precede it" },
	{ "aufs-notes", 0, "d/ d/old- f- l@" },
	{ "bad-checksum", -EBADMSG, "is damaged: Unrecognized archive format" },
	{ "control-characters", 0, "a\nb\x1b[31m-" },
	{ "cut-contents", -EBADMSG, "Truncated input file" },
	{ "cut-end", 0, "d/" },
	{ "cut-gzip", -EBADMSG, "is damaged" },
	{ "cut-header", -EBADMSG, "is damaged" },
	{ "deep", -EFBIG, "'d' is more than 32 folders deep" },
	{ "device-out-of-range", -EINVAL, "entry 'n' is a device with a number out of range" },
	{ "devices", 0, "diskb nullc" },
	{ "dotdot", -EINVAL, "entry '../escape' leaves the tree by '..'" },
	{ "dotdot-inside", -EINVAL, "entry 'd/../../escape' leaves the tree by '..'" },
	{ "duplicates", 0, "f-" },
	{ "empty", 0, "" },
	{ "empty-between", 0, "d/ d/old- l@" },
	/* these cases have the digest of the compressed bytes */
	{ "empty-gzip", -EBADMSG, "is damaged: its digest differs from the image's configuration" },
	{ "empty-tar", 0, "d/ d/old- f- l@" },
	{ "empty-zstd", -EBADMSG, "is damaged: its digest differs from the image's configuration" },
	{ "empty-target", -EINVAL, "entry 'l' is a symbolic link to nothing" },
	{ "fifo", 0, "pp" },
	{ "file-to-folder", 0, "d/ d/old- f/ f/x- l@" },
	{ "folder-to-file", 0, "d- f- l@" },
	{ "folder-to-link-to-folder", 0, "d/ d/x- f- l@" },
	{ "gzip-in-gzip", -EBADMSG, "is damaged: Unrecognized archive format" },
	{ "hard-link-absolute", 0, "f- h-" },
	{ "hard-link-out", -EINVAL,
	  "entry 'h': its target '../../etc/passwd' leaves the tree by '..'" },
	{ "hard-link-over-its-folder", -EINVAL,
	  "entry 'd' replaces the folder that holds its target" },
	{ "hard-link-through-link", 0, "d/ d/old- f- h- l@" },
	{ "hard-link-to-folder", -EINVAL, "entry 'h' is a hard link to a folder" },
	{ "hard-link-to-itself", -EINVAL,
	  "entry 'h' is a hard link to a file that does not precede it" },
	{ "hard-link-to-none", -EINVAL,
	  "entry 'h' is a hard link to a file that does not precede it" },
	{ "hard-link-to-root", -EINVAL,
	  "entry 'h' is a hard link to a file that does not precede it" },
	{ "huge-file", -EFBIG, "'layer': entry 'f': the files unpack to more than 1 MiB" },
	{ "huge-sum", -EFBIG, "'layer': entry 'f': the files unpack to more than 1 MiB" },
	{ "link-grows", -EINVAL, "entry 'a/f' is behind links to a path that is too long" },
	{ "link-loop", -EINVAL, "entry 'a/f' is behind more than 40 symbolic links" },
	{ "link-out", 0, "etc/ etc/passwd- out@" },
	{ "link-to-itself", -EINVAL, "entry 'a/f' is behind more than 40 symbolic links" },
	{ "link-to-nothing", 0, "a@ none/ none/f-" },
	{ "link-to-root", 0, "f- out@" },
	{ "links-through-links", 0, "a@ b@ c@ d/ f-" },
	{ "long-name", -EINVAL, "has a name of more than 255 bytes" },
	{ "long-path", -EINVAL,
	  "entry "
	  "'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/nn" },
	{ "long-target", -EINVAL,
	  "entry 'l': the symbolic link 'l' points to more than 4095 bytes" },
	{ "many-entries", -EFBIG, "the layers have more than 1000 entries" },
	{ "many-files", -EFBIG, "entry 'f499': there are more than 500 files" },
	{ "no-layers", 0, "" },
	{ "no-tar", -EBADMSG, "is damaged: Unrecognized archive format" },
	{ "not-utf8", 0, "\xff\xfe\x80-" },
	{ "opaque-first-and-last", 0, "d/ d/new- f- l@" },
	{ "opaque-of-a-file", 0, "d/ d/old- f- l@" },
	{ "opaque-root", 0, "new-" },
	{ "owner-out-of-range", -EINVAL, "entry 'f' has an owner out of range" },
	{ "root-is-a-file", -EINVAL,
	  "entry '.' replaces the root folder with another kind of file" },
	{ "root-is-a-hard-link", -EINVAL,
	  "entry './' replaces the root folder with another kind of file" },
	{ "root-is-a-link", -EINVAL,
	  "entry '/' replaces the root folder with another kind of file" },
	{ "root-twice", 0, "" },
	{ "second-is-damaged", -EBADMSG, "is damaged: Unrecognized archive format" },
	{ "sparse", 0, "f-" },
	{ "sparse-all-hole", 0, "f-" },
	{ "sparse-backwards", -EBADMSG, "entry 'f' has an invalid map of holes" },
	{ "sparse-claims-more", 0, "f-" }, /* missing data read as zeros */
	{ "sparse-claims-too-much", -EFBIG, "entry 'f': the files unpack to more than 1 MiB" },
	{ "sparse-outside", -EBADMSG, "entry 'f' has an invalid map of holes" },
	{ "sparse-overlaps", -EBADMSG, "entry 'f' has an invalid map of holes" },
	{ "sparse-too-large", -EFBIG, "entry 'f': the files hold more than 16777216 bytes" },
	{ "umoci-insert", 0, "f-" },
	{ "under-a-device", -EINVAL, "entry 'n/g' has a parent that is no folder" },
	{ "under-a-file", -EINVAL, "entry 'f/g' has a parent that is no folder" },
	{ "whiteout", 0, "d/ l@" },
	{ "whiteout-in-first-layer", 0, "f-" },
	{ "whiteout-keeps-its-layer", 0, "d/ d/new- f- l@" },
	{ "whiteout-leaves", -EINVAL, "entry '../.wh.f' leaves the tree by '..'" },
	{ "whiteout-of-dot", -EINVAL, "entry '.wh..' is a whiteout of an impossible name" },
	{ "whiteout-of-dotdot", -EINVAL, "entry 'd/.wh...' is a whiteout of an impossible name" },
	{ "whiteout-of-nothing", -EINVAL, "entry '.wh.' is a whiteout of an impossible name" },
	{ "wrong-digest", -EBADMSG,
	  "is damaged: its digest differs from the image's configuration" },
	{ "xz", -EBADMSG, "is damaged: Unrecognized archive format" },
	{ "zeros-behind-the-end", -EFBIG, "'layer': the files unpack to more than 1 MiB" },
};

static void hostile_layers_have_the_documented_result(void **state)
{
	(void)state;
	check_corpus("layer", hostile_layers, MVM_ARRAY_SIZE(hostile_layers), merge);
}

/* A sink that collects "path=contents" in the order of arrival. */
static int note(void *arg, struct tree_node *n, uint64_t offset, const void *data, size_t len,
		struct mvm_error *err)
{
	char path[TREE_PATH_SIZE];

	(void)offset;
	(void)err;
	tree_path(n, path);
	strbuf_addf(arg, "%s=%.*s ", path, (int)len, (const char *)data);
	return 0;
}

static void contents_come_from_the_entry_that_stayed(void **state)
{
	static const struct {
		const char *input, *contents;
	} cases[] = {
		{ "duplicates", "f=333 " },
		{ "hard-link-through-link", "d/old=old f=contents " },
		{ "whiteout-keeps-its-layer", "f=2 " },
		{ "folder-to-file", "f=contents d=x " },
		{ "opaque-root", "" },
	};
	(void)state;
	AUTO_CLOSE int dir_fd = open_corpus("layer");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(layer_input) in = LAYER_INPUT_NONE;
		AUTO_DONE(strbuf) got = { 0 };
		AUTO_FREE char *text = NULL;
		AUTO(tree) t = NULL;
		size_t len;

		assert_int_equal(file_read_at(dir_fd, cases[i].input, 1 << 20, &text, &len), 0);
		assert_int_equal(layer_input_read((const uint8_t *)text, len, &in), 0);
		assert_int_equal(layers_scan(in.layers, in.n, 0, NULL, &t, NULL), 0);
		assert_int_equal(layers_read(in.layers, in.n, NULL, t, note, &got, NULL), 0);
		assert_string_equal(got.data ? got.data : "", cases[i].contents);
	}
}

static void a_layer_that_changes_between_the_passes_is_noticed(void **state)
{
	AUTO_DONE(layer_input) in = LAYER_INPUT_NONE;
	AUTO_FREE char *text = NULL;
	AUTO(tree) t = NULL;
	struct mvm_error err = { 0 };
	size_t len;

	(void)state;
	AUTO_CLOSE int dir_fd = open_corpus("layer");
	assert_int_equal(file_read_at(dir_fd, "duplicates", 1 << 20, &text, &len), 0);
	assert_int_equal(layer_input_read((const uint8_t *)text, len, &in), 0);
	assert_int_equal(layers_scan(in.layers, in.n, 0, NULL, &t, &err), 0);
	char *contents = memmem(text, len, "333", 3);
	assert_non_null(contents);
	assert_int_equal(pwrite(in.fd, "666", 3, contents - text), 3);
	assert_int_equal(layers_read(in.layers, in.n, NULL, t, layer_input_check, NULL, &err),
			 -EBADMSG);
}

/* Scan one layer that claims to be the compressed form of an empty tar. */
static int scan_as_empty(const void *data, size_t len, bool alone, struct mvm_error *err)
{
	AUTO_CLOSE int fd = memfd_create("layer", MFD_CLOEXEC);
	struct layer_source source = { .fd = fd, .size = len, .name = "layer", .alone = alone };
	AUTO(tree) t = NULL;
	sha256_buf("", 0, &source.diff_id);
	assert_int_equal(file_write_all(fd, data, len), 0);
	return layers_scan(&source, 1, 0, NULL, &t, err);
}

static void a_layer_that_cannot_be_decompressed_is_not_empty(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} empty[] = {
		/* gzip, with a file's name in its header */
		{ "\x1f\x8b\x08\x08\0\0\0\0\0\x03name\0\x03\0\0\0\0\0\0\0\0\0", 25 },
		{ "\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8\x51", 13 },
		/* a skippable frame first */
		{ "\x50\x2a\x4d\x18\x02\0\0\0xx\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8"
		  "\x51",
		  23 },
		/* the largest window that is accepted */
		{ "\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00", 9 },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(empty); i++) {
		struct mvm_error err = { 0 };
		assert_int_equal(scan_as_empty(empty[i].bytes, empty[i].len, false, &err), 0);
		for (size_t cut = 4; cut < empty[i].len; cut++) {
			if (i == 2 && cut == 10)
				continue; /* the skippable frame alone is a complete file */
			int r = scan_as_empty(empty[i].bytes, cut, false, &err);
			if (r != -EBADMSG)
				print_error("case %zu cut at %zu: %d\n", i, cut, r);
			assert_int_equal(r, -EBADMSG);
			assert_non_null(strstr(err.text, "'layer' is damaged"));
			assert_null(strstr(err.text, "configuration"));
		}
	}
}

static void a_layer_with_an_invalid_header_is_not_empty(void **state)
{
	static const char gzip[] = "\x1f\x8b\x07 nothing of gzip's but its first bytes";
	static const char zstd[] = "\x28\xb5\x2f\xfd\xff nothing of zstd's but its first bytes";
	struct mvm_error err = { 0 };
	(void)state;
	assert_int_equal(scan_as_empty(gzip, sizeof(gzip), false, &err), -EBADMSG);
	assert_null(strstr(err.text, "configuration"));
	assert_int_equal(scan_as_empty(zstd, sizeof(zstd), false, &err), -EBADMSG);
	assert_null(strstr(err.text, "configuration"));
}

static void a_window_over_the_limit_is_reported_so(void **state)
{
	/* 256 MiB */
	static const char frame[] = "\x28\xb5\x2f\xfd\x00\x90\x01\x00";
	(void)state;
	for (int alone = 0; alone < 2; alone++) {
		struct mvm_error err = { 0 };
		assert_int_equal(scan_as_empty(frame, sizeof(frame), alone, &err), -EFBIG);
		assert_string_equal(err.text,
				    "'layer' needs a dictionary of more than 128 MiB to unpack");
		assert_non_null(strstr(err.hint, "zstd --ultra -22"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_layers_have_the_documented_result),
		cmocka_unit_test(contents_come_from_the_entry_that_stayed),
		cmocka_unit_test(a_layer_that_changes_between_the_passes_is_noticed),
		cmocka_unit_test(a_layer_that_cannot_be_decompressed_is_not_empty),
		cmocka_unit_test(a_layer_with_an_invalid_header_is_not_empty),
		cmocka_unit_test(a_window_over_the_limit_is_reported_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

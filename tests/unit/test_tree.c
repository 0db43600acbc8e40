/* SPDX-License-Identifier: Apache-2.0 */
#include "image_util.h"

#include "image/tree.h"

static struct tree_node *must_add(struct tree *t, struct tree_node *parent, const char *name,
				  enum tree_type type)
{
	struct tree_node *n;
	assert_int_equal(tree_add(t, parent, name, type, NULL, &n, NULL), 0);
	return n;
}

static void children_come_in_byte_order(void **state)
{
	(void)state;
	static const char *const names[] = { "b", "a-b", "a", "B", "a.b", "\xff", "_" };
	static const char *const sorted[] = { "B", "_", "a", "a-b", "a.b", "b", "\xff" };
	AUTO(tree) t = NULL;

	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++)
		must_add(t, t->root, names[i], TREE_FILE);
	assert_int_equal(tree_seal(t, NULL), 0);
	assert_int_equal(t->root->n_children, MVM_ARRAY_SIZE(sorted));
	for (size_t i = 0; i < MVM_ARRAY_SIZE(sorted); i++)
		assert_string_equal(t->root->children[i]->name, sorted[i]);
}

static void bad_names_are_refused(void **state)
{
	(void)state;
	char long_name[TREE_NAME_MAX + 2];
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	const char *const names[] = { "", ".", "..", "a/b", "/", long_name };
	AUTO(tree) t = NULL;

	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		struct mvm_error err = { 0 };
		struct tree_node *n;
		assert_int_equal(tree_add(t, t->root, names[i], TREE_FILE, NULL, &n, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, "cannot be a file name"));
	}
	assert_int_equal(t->n_nodes, 1);
}

static void a_name_can_be_taken_once(void **state)
{
	(void)state;
	AUTO(tree) t = NULL;
	struct tree_node *n;

	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	must_add(t, t->root, "a", TREE_FILE);
	assert_int_equal(tree_add(t, t->root, "a", TREE_FOLDER, NULL, &n, NULL), -EEXIST);
	assert_int_equal(t->n_nodes, 2);
}

static void limits_hold(void **state)
{
	(void)state;
	static const struct tree_limits limits = {
		.nodes = 5, .text_bytes = 20, .file_bytes = 100, .depth = 2
	};
	AUTO(tree) t = NULL;
	struct tree_node *n;

	assert_int_equal(tree_new(&limits, &t, NULL), 0);
	struct tree_node *a = must_add(t, t->root, "a", TREE_FOLDER);
	struct tree_node *b = must_add(t, a, "b", TREE_FOLDER);
	assert_int_equal(tree_add(t, b, "c", TREE_FILE, NULL, &n, NULL), -EFBIG);
	assert_int_equal(tree_add(t, a, "a name of 20 bytes..", TREE_FILE, NULL, &n, NULL), -EFBIG);
	n = must_add(t, a, "c", TREE_FILE);
	assert_int_equal(tree_set_size(t, n->inode, 100, NULL), 0);
	assert_int_equal(tree_set_size(t, n->inode, 50, NULL), 0);
	n = must_add(t, a, "d", TREE_FILE);
	assert_int_equal(tree_set_size(t, n->inode, 51, NULL), -EFBIG);
	assert_int_equal(tree_set_size(t, n->inode, 50, NULL), 0);
	assert_int_equal(tree_add(t, a, "e", TREE_FILE, NULL, &n, NULL), -EFBIG);
	tree_remove(t, a);
	assert_int_equal(t->n_nodes, 1);
	assert_int_equal(t->file_bytes, 0);
}

static void a_file_lives_as_long_as_one_of_its_names(void **state)
{
	(void)state;
	AUTO(tree) t = NULL;
	struct tree_node *found;

	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	struct tree_node *a = must_add(t, t->root, "a", TREE_FOLDER);
	struct tree_node *f = must_add(t, a, "f", TREE_FILE);
	assert_int_equal(tree_set_size(t, f->inode, 7, NULL), 0);
	assert_int_equal(tree_link(t, t->root, "g", f, NULL), 0);
	assert_int_equal(f->inode->nlink, 2);
	assert_int_equal(tree_link(t, t->root, "h", a, NULL), -EINVAL);

	tree_remove(t, a);
	assert_int_equal(tree_find(t, "g", &found), 0);
	assert_int_equal(found->inode->nlink, 1);
	assert_int_equal(found->inode->size, 7);
	assert_int_equal(t->file_bytes, 7);
	tree_remove(t, found);
	assert_int_equal(t->file_bytes, 0);
}

static void paths_are_looked_up_inside_the_tree(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		int r;
	} cases[] = {
		{ "a/b/f", 0 },	       { "/./a//b/f/", 0 }, { "", 0 },
		{ "a/../a", -EINVAL }, { "a/x", -ENOENT },  { "a/b/f/g", -ENOTDIR },
		{ "a/l/b", -ENOTDIR },
	};
	AUTO(tree) t = NULL;
	struct tree_node *n;
	char path[TREE_PATH_SIZE];

	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	struct tree_node *a = must_add(t, t->root, "a", TREE_FOLDER);
	struct tree_node *b = must_add(t, a, "b", TREE_FOLDER);
	struct tree_node *f = must_add(t, b, "f", TREE_FILE);
	assert_int_equal(tree_add(t, a, "l", TREE_SYMLINK, "/a", &n, NULL), 0);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++)
		assert_int_equal(tree_find(t, cases[i].path, &n), cases[i].r);
	tree_path(f, path);
	assert_string_equal(path, "a/b/f");
	tree_path(t->root, path);
	assert_string_equal(path, "");
}

static void sealing_counts_the_links_of_folders(void **state)
{
	(void)state;
	AUTO(tree) t = NULL;

	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	must_add(t, t->root, "a", TREE_FOLDER);
	must_add(t, t->root, "b", TREE_FOLDER);
	must_add(t, t->root, "c", TREE_FILE);
	assert_int_equal(tree_seal(t, NULL), 0);
	assert_int_equal(tree_seal(t, NULL), 0);
	assert_int_equal(t->root->inode->nlink, 4);
	assert_int_equal(t->root->n_children, 3);
}

static void attributes_are_sorted_and_replaced(void **state)
{
	(void)state;
	AUTO(tree) t = NULL;

	assert_int_equal(tree_new(NULL, &t, NULL), 0);
	struct tree_inode *i = t->root->inode;
	assert_int_equal(tree_set_xattr(t, i, "user.b", "1", 1, NULL), 0);
	assert_int_equal(tree_set_xattr(t, i, "user.a", "22", 2, NULL), 0);
	assert_int_equal(tree_set_xattr(t, i, "user.b", "333", 3, NULL), 0);
	assert_string_equal(i->xattrs->name, "user.a");
	assert_string_equal(i->xattrs->next->name, "user.b");
	assert_int_equal(i->xattrs->next->len, 3);
	assert_null(i->xattrs->next->next);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(children_come_in_byte_order),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(a_name_can_be_taken_once),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(a_file_lives_as_long_as_one_of_its_names),
		cmocka_unit_test(paths_are_looked_up_inside_the_tree),
		cmocka_unit_test(sealing_counts_the_links_of_folders),
		cmocka_unit_test(attributes_are_sorted_and_replaced),
	};
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}

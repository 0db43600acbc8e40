/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "image/layer_internal.h"

/* One name of each file that has contents, in the order of the layers and their entries. */
struct wanted {
	struct tree_node **nodes;
	size_t n, next;
};

static void collect(struct wanted *w, struct tree_node *folder)
{
	for (size_t i = 0; i < folder->n_children; i++) {
		struct tree_node *n = folder->children[i];
		if (n->inode->type == TREE_FOLDER)
			collect(w, n);
		else if (n->inode->type == TREE_FILE && n->inode->size > 0)
			w->nodes[w->n++] = n;
	}
}

static int by_content(const void *a, const void *b)
{
	uint64_t x = (*(struct tree_node *const *)a)->inode->content;
	uint64_t y = (*(struct tree_node *const *)b)->inode->content;
	return x < y ? -1 : x > y;
}

static int read_layer(const struct layer_source *layer, uint64_t number,
		      struct unpack_budget *budget, struct wanted *w, tree_content_fn fn, void *arg,
		      struct mvm_error *err)
{
	AUTO_DONE(layer_stream) s = { 0 };
	struct archive_entry *e;

	int r = layer_stream_open(&s, layer, budget, err);
	if (r < 0)
		return r;
	while ((r = layer_stream_next(&s, &e, err)) > 0) {
		uint64_t content = LAYER_CONTENT(number, s.tar.entry);
		struct tree_node *n = w->next < w->n ? w->nodes[w->next] : NULL;
		if (!n || n->inode->content != content)
			continue;
		if (archive_entry_filetype(e) != AE_IFREG ||
		    (uint64_t)archive_entry_size(e) != n->inode->size)
			return tar_changed(&s.tar, err);
		r = tar_contents(&s.tar, n, fn, arg, err);
		if (r < 0)
			return layer_stream_error(&s, r, err);
		while (w->next < w->n && w->nodes[w->next]->inode->content == content)
			w->next++; /* other names of this file */
	}
	return r < 0 ? r : layer_stream_finish(&s, err);
}

int layers_read(const struct layer_source *layers, size_t n, const struct layer_limits *limits,
		struct tree *t, tree_content_fn fn, void *arg, struct mvm_error *err)
{
	struct unpack_budget budget = {
		.limit = layer_limits_get(limits, layers, n).unpacked_bytes
	};
	AUTO_FREE struct tree_node **nodes = calloc(t->n_nodes, sizeof(struct tree_node *));
	struct wanted w = { .nodes = nodes };

	if (!nodes)
		return mvm_error_oom(err);
	collect(&w, t->root);
	qsort(nodes, w.n, sizeof(struct tree_node *), by_content);
	for (size_t i = 0; i < n && w.next < w.n; i++) {
		if (nodes[w.next]->inode->content >= LAYER_CONTENT(i + 2, 0))
			continue; /* no file's contents come from this layer */
		int r = read_layer(&layers[i], i + 1, &budget, &w, fn, arg, err);
		if (r < 0)
			return r;
	}
	return w.next < w.n ? mvm_error_set(err, -EBUSY, "the layers changed while they were read")
			    : 0;
}

int layers_write_image(const struct layer_source *layers, size_t n,
		       const struct layer_limits *limits, struct tree *t, const char *what,
		       int out_fd, const struct ext4_options *options, struct mvm_error *err)
{
	AUTO(ext4_writer) w = NULL;

	int r = ext4_begin(out_fd, t, options, &w, err);
	if (r < 0)
		return mvm_error_context(err, r, "'%s'", what);
	r = layers_read(layers, n, limits, t, ext4_write, w, err);
	if (r < 0)
		return r;
	r = ext4_finish(w, err);
	return r < 0 ? mvm_error_context(err, r, "'%s'", what) : 0;
}

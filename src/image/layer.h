/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

/*
 * Merge the layers of an OCI image into one tree, in memory: mvm never unpacks to disk, so no layer
 * can write outside of its tree.  A `tar:` source counts as an image with one layer, so that both
 * give the same tree.
 *
 * Layers are tars.  The merge applies them in order:
 * - An entry replaces an earlier file of its path.  A folder that replaces a folder brings new
 *   metadata and keeps the contents.
 * - ".wh.NAME" removes the NAME of earlier layers, and ".wh..wh..opq" all that earlier layers put
 *   into its folder, wherever in the layer these entries stand.
 * - Other names with ".wh..wh." are notes of aufs.  The merge skips them and everything below them.
 *   Only ".wh..wh.plnk" in the root stays until its layer ends, since other names in the layer may
 *   be hard links to its files.
 * - Paths become relative.  ".." in a path is refused.  Links in a path lead inside the tree.
 * - Folders without an entry are 0755 and root's.
 * - Attributes named "system.*" are left out: they are access lists in the form of another kernel
 *   interface.
 *
 * The merge and layers_read() each read the streams once, since an image must know its files before
 * their contents.
 *
 * Source: OCI image-spec v1.1, layer.md; moby, pkg/archive/diff.go (aufs).
 */

#include "image/ext4.h"
#include "image/layer_stream.h"

/* Upper bounds; a 0 stands for the default. */
struct layer_limits {
	uint64_t entries;	 /* of all layers together, replaced ones too: 4 Mi */
	uint64_t unpacked_bytes; /* all layers together: unpack_limit() of their sizes */
	struct tree_limits tree; /* file_bytes, which counts holes: 16 TiB */
};

/*
 * Merge layers.
 *
 *   layers  lowest first
 *   mtime   of folders that no entry describes
 *   limits  NULL: the defaults
 *   ret     a sealed tree, the caller's
 *
 * Returns 0; -EBADMSG (cut, damaged, another diff_id), -EINVAL (an entry that cannot be in an
 * image, by name), -EFBIG (over a limit), -ENOMEM or errno.
 */
int layers_scan(const struct layer_source *layers, size_t n, int64_t mtime,
		const struct layer_limits *limits, struct tree **ret, struct mvm_error *err);

/*
 * Read the contents of the files of a merged tree, in the order of the layers.
 *
 * Returns 0; -EBADMSG, -EBUSY (not the layers that were merged), what fn returned, or errno.
 */
int layers_read(const struct layer_source *layers, size_t n, const struct layer_limits *limits,
		struct tree *t, tree_content_fn fn, void *arg, struct mvm_error *err);

/* Write a merged tree as an ext4 image; what: the source, for messages.  Errors of ext4.h and
 * layers_read(). */
int layers_write_image(const struct layer_source *layers, size_t n,
		       const struct layer_limits *limits, struct tree *t, const char *what,
		       int out_fd, const struct ext4_options *options, struct mvm_error *err);

#endif

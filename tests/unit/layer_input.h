/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LAYER_INPUT_H
#define TESTS_LAYER_INPUT_H

/*
 * Layers from one buffer, for the fuzz target and the test of its corpus.
 *
 * The buffer has up to four layers, each after its length as four bytes, lowest first.  The
 * expected digest is the one of these bytes.  So plain layers are right, and compressed ones are
 * read to their end and then found wrong.  Limits are small, so that small inputs reach them.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "image/layer.h"

#define LAYER_INPUT_MAX 4

static const struct layer_limits layer_input_limits = {
	.entries = 1000,
	.unpacked_bytes = 1 << 20,
	.tree = { .nodes = 500, .text_bytes = 1 << 20, .file_bytes = 16 << 20, .depth = 32 },
};

struct layer_input {
	int fd;
	struct layer_source layers[LAYER_INPUT_MAX];
	size_t n;
};
#define LAYER_INPUT_NONE                                                                           \
	{                                                                                          \
		.fd = -1                                                                           \
	}

static inline void layer_input_done(struct layer_input *in)
{
	if (in->fd >= 0)
		close(in->fd);
}
DEFINE_AUTO_DONE(layer_input, layer_input_done)

/* A tar by itself, from one buffer. */
static inline int layer_input_tar(const uint8_t *data, size_t size, struct layer_input *ret)
{
	ret->fd = memfd_create("tar", MFD_CLOEXEC);
	if (ret->fd < 0 || file_write_all(ret->fd, data, size) < 0)
		return -1;
	ret->layers[ret->n++] =
		(struct layer_source){ .fd = ret->fd, .size = size, .name = "tar", .alone = true };
	return 0;
}

static inline int layer_input_read(const uint8_t *data, size_t size, struct layer_input *ret)
{
	size_t at = 0;

	ret->fd = memfd_create("layers", MFD_CLOEXEC);
	if (ret->fd < 0 || file_write_all(ret->fd, data, size) < 0)
		return -1;
	while (ret->n < LAYER_INPUT_MAX && size - at >= 4) {
		size_t len = (size_t)data[at] | (size_t)data[at + 1] << 8 |
			     (size_t)data[at + 2] << 16 | (size_t)data[at + 3] << 24;
		at += 4;
		len = len < size - at ? len : size - at;
		struct layer_source *layer = &ret->layers[ret->n++];
		*layer = (struct layer_source){
			.fd = ret->fd, .offset = at, .size = len, .name = "layer"
		};
		sha256_buf(data + at, len, &layer->diff_id);
		at += len;
	}
	return 0;
}

/* A sink that checks that contents stay within their file. */
static inline int layer_input_check(void *arg, struct tree_node *n, uint64_t offset,
				    const void *data, size_t len, struct mvm_error *err)
{
	(void)arg;
	(void)data;
	(void)err;
	if (n->inode->type != TREE_FILE || offset > n->inode->size || len > n->inode->size - offset)
		abort();
	return 0;
}

#endif

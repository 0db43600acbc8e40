/* SPDX-License-Identifier: Apache-2.0 */
#include "copy/tar_map.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A file with more pieces has its end sent as one: nobody waits for minutes for a map. */
#define PIECES_MAX (4u * TAR_EXTENTS_MAX)

/* A map that is being made. */
struct scan {
	struct tar_map map;
	uint64_t size, hole_min;
	size_t max;
};

static uint64_t end_of(const struct tar_extent *e)
{
	return e->at + e->len;
}

int tar_map_add(struct tar_map *m, uint64_t at, uint64_t len, uint64_t size)
{
	uint64_t after = m->n ? end_of(&m->v[m->n - 1]) : 0;
	if (at < after || at > size || len > size - at)
		return -EBADMSG;
	if (m->n == TAR_EXTENTS_MAX)
		return -EFBIG;
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 16;
		struct tar_extent *v = realloc(m->v, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
		m->v = v;
		m->room = room;
	}
	m->v[m->n++] = (struct tar_extent){ at, len };
	m->stored += len;
	return 0;
}

/* Let the last extent end there. */
static void extend(struct tar_map *m, uint64_t end)
{
	struct tar_extent *last = &m->v[m->n - 1];
	m->stored += end - end_of(last);
	last->len = end - last->at;
}

/* Drop the holes that are smaller than hole_min. */
static void fill_small_holes(struct tar_map *m, uint64_t hole_min)
{
	size_t n = 0;
	for (size_t i = 1; i < m->n; i++) {
		uint64_t hole = m->v[i].at - end_of(&m->v[n]);
		if (hole >= hole_min) {
			m->v[++n] = m->v[i];
			continue;
		}
		m->v[n].len += hole + m->v[i].len;
		m->stored += hole;
	}
	m->n = n + 1;
}

/* Add data that were found, or join them to the last extent over a small hole. */
static int add_data(struct scan *s, uint64_t at, uint64_t end)
{
	struct tar_map *m = &s->map;
	uint64_t after = m->n ? end_of(&m->v[m->n - 1]) : 0;
	if (at - after < s->hole_min) {
		if (m->n == 0)
			return tar_map_add(m, 0, end, s->size);
		extend(m, end);
		return 0;
	}
	while (m->n + 1 >= s->max) { /* the last one is the end's */
		s->hole_min *= 2;
		fill_small_holes(m, s->hole_min);
	}
	return tar_map_add(m, at, end - at, s->size);
}

static int add_end(struct scan *s)
{
	struct tar_map *m = &s->map;
	uint64_t after = m->n ? end_of(&m->v[m->n - 1]) : 0;
	if (m->n == 0 || s->size - after >= s->hole_min)
		return tar_map_add(m, s->size, 0, s->size);
	extend(m, s->size);
	return 0;
}

/* Find the data.  Returns 1, 0 when they cannot be told from holes, or -ENOMEM. */
static int find_data(int fd, struct scan *s)
{
	uint64_t at = 0;
	for (unsigned pieces = 0; at < s->size; pieces++) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return 0;
		if (data < 0 || (uint64_t)data >= s->size)
			break; /* the rest is a hole */
		off_t hole = pieces < PIECES_MAX ? lseek(fd, data, SEEK_HOLE) : (off_t)s->size;
		if (data < (off_t)at || hole <= data)
			return 0; /* the file changes at this moment */
		at = (uint64_t)hole < s->size ? (uint64_t)hole : s->size;
		int r = add_data(s, (uint64_t)data, at);
		if (r < 0)
			return r;
	}
	int r = add_end(s);
	return r < 0 ? r : 1;
}

int tar_map_scan(int fd, uint64_t size, size_t max, struct tar_map *ret)
{
	struct scan s = { .size = size, .hole_min = TAR_HOLE_MIN, .max = max };
	int r = find_data(fd, &s);
	*ret = (struct tar_map){ 0 };
	if (r > 0 && size - s.map.stored >= TAR_HOLE_MIN)
		*ret = s.map;
	else
		tar_map_done(&s.map);
	return r < 0 ? r : 0;
}

void tar_map_done(struct tar_map *m)
{
	free(m->v);
	*m = (struct tar_map){ 0 };
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"

struct list {
	struct work *first, **end;
};

struct worker {
	pthread_t thread;
	struct workers *workers;
	struct mvm *mvm;
	const struct work *work; /* that it runs; NULL: none */
};

struct workers {
	pthread_mutex_t lock; /* of what follows, up to the blank line */
	pthread_cond_t more;
	struct list todo, finished;
	unsigned waiting, running, max;
	bool stop;

	int news_fd; /* eventfd: something is finished */
	struct loop_source *news;
	struct worker *v;
	unsigned n;
};

static void list_init(struct list *l)
{
	l->first = NULL;
	l->end = &l->first;
}

static void list_add(struct list *l, struct work *work)
{
	work->next = NULL;
	*l->end = work;
	l->end = &work->next;
}

static struct work *list_take_at(struct list *l, struct work **link)
{
	struct work *work = *link;
	if (!work)
		return NULL;
	*link = work->next;
	if (!work->next)
		l->end = link;
	return work;
}

static struct work *list_take(struct list *l)
{
	return list_take_at(l, &l->first);
}

static bool is_of(const struct work *work, const char *owner)
{
	return work && work->owner && strcmp(work->owner, owner) == 0;
}

/* May it begin?  Its owner must leave threads to others. */
static bool may_begin(const struct workers *w, const struct work *work)
{
	unsigned n = 0;
	for (unsigned i = 0; work->owner && i < w->n; i++)
		n += is_of(w->v[i].work, work->owner);
	return !work->owner || n < w->n - w->running;
}

/* The first job that may begin, or NULL. */
static struct work *take_next(struct workers *w)
{
	struct work **link = &w->todo.first;
	while (*link && !may_begin(w, *link))
		link = &(*link)->next;
	return list_take_at(&w->todo, link);
}

static void tell_loop(struct workers *w)
{
	uint64_t one = 1;
	ssize_t n = write(w->news_fd, &one, sizeof(one));
	(void)n; /* a full counter tells the loop as well */
}

void workers_post(struct workers *w, struct work *work)
{
	pthread_mutex_lock(&w->lock);
	list_add(&w->finished, work);
	pthread_mutex_unlock(&w->lock);
	tell_loop(w);
}

static void *work_on(void *arg)
{
	struct worker *self = arg;
	struct workers *w = self->workers;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct work *work = NULL;
		while (!w->stop && !(work = take_next(w)))
			pthread_cond_wait(&w->more, &w->lock);
		if (w->stop)
			break;
		w->waiting--;
		w->running++;
		self->work = work;
		pthread_mutex_unlock(&w->lock);
		work->run(work, self->mvm);
		pthread_mutex_lock(&w->lock);
		w->running--;
		self->work = NULL;
		if (w->waiting > 0) /* others may begin now, too */
			pthread_cond_broadcast(&w->more);
		list_add(&w->finished, work);
		tell_loop(w);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Call done for all that are finished, in their order. */
static void finish(void *arg, uint32_t events)
{
	struct workers *w = arg;
	struct list list;
	uint64_t count;
	ssize_t n = read(w->news_fd, &count, sizeof(count));

	(void)n;
	(void)events;
	pthread_mutex_lock(&w->lock);
	list = w->finished;
	if (!list.first)
		list.end = &list.first;
	list_init(&w->finished);
	pthread_mutex_unlock(&w->lock);
	for (struct work *work; (work = list_take(&list));)
		work->done(work);
}

static unsigned count_waiting(const struct workers *w, const char *owner)
{
	unsigned n = 0;
	for (const struct work *work = w->todo.first; owner && work; work = work->next)
		n += is_of(work, owner);
	return n;
}

int workers_add(struct workers *w, struct work *work, struct mvm_error *err)
{
	int r = 0;
	pthread_mutex_lock(&w->lock);
	if (w->waiting >= w->max)
		r = mvm_error_set(err, -EAGAIN, "too many requests are waiting already");
	else if (count_waiting(w, work->owner) >= w->max / 2)
		r = mvm_error_set(err, -EDQUOT,
				  "too many requests of this client are waiting already");
	if (r == 0) {
		list_add(&w->todo, work);
		w->waiting++;
		pthread_cond_signal(&w->more);
	}
	pthread_mutex_unlock(&w->lock);
	return r;
}

void workers_load(struct workers *w, unsigned *ret_waiting, unsigned *ret_running)
{
	pthread_mutex_lock(&w->lock);
	*ret_waiting = w->waiting;
	*ret_running = w->running;
	pthread_mutex_unlock(&w->lock);
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n; i++) {
		pthread_join(w->v[i].thread, NULL);
		mvm_close(w->v[i].mvm);
	}
	for (struct work *work; (work = list_take(&w->todo));)
		list_add(&w->finished, work);
	if (w->news_fd >= 0)
		finish(w, 0);
	loop_source_free(w->news);
	if (w->news_fd >= 0)
		close(w->news_fd);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w->v);
	free(w);
}

static int add_worker(struct workers *w, const char *data_dir, struct mvm_error *err)
{
	struct worker *self = &w->v[w->n];
	int r = mvm_open(data_dir, &self->mvm, err);
	if (r < 0)
		return r;
	self->workers = w;
	r = pthread_create(&self->thread, NULL, work_on, self);
	if (r != 0) {
		mvm_close(self->mvm);
		return mvm_error_set(err, -r, "cannot start a thread: %s", strerror(r));
	}
	w->n++;
	return 0;
}

int workers_new(struct loop *loop, const char *data_dir, unsigned threads, unsigned queue_max,
		struct workers **ret, struct mvm_error *err)
{
	AUTO(workers) w = calloc(1, sizeof(*w));
	if (!w)
		return mvm_error_oom(err);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	list_init(&w->todo);
	list_init(&w->finished);
	w->max = queue_max;
	w->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->news_fd < 0)
		return mvm_error_set(err, -errno, "eventfd: %s", strerror(errno));
	int r = loop_add_fd(loop, w->news_fd, EPOLLIN, finish, w, &w->news);
	if (r < 0)
		return mvm_error_set(err, r, "epoll_ctl: %s", strerror(-r));
	w->v = calloc(threads, sizeof(*w->v));
	if (!w->v)
		return mvm_error_oom(err);
	for (unsigned i = 0; i < threads; i++) {
		r = add_worker(w, data_dir, err);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(w);
	return 0;
}

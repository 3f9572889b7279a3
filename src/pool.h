/* Threads that share large work of the replay machine: one pool for the process, created when it is first
   asked for. Work comes in numbered parts, and what is computed does not depend on who does which. A thread
   that is late therefore costs nothing but its help: whoever asked does the parts that nobody has taken, and
   all of them if somebody else uses the pool, if no thread can be created, or where there are no POSIX
   threads. */
#ifndef AUTOGRAD_C_POOL_H
#define AUTOGRAD_C_POOL_H

#include "loops.h"

typedef void (*PoolWork)(void *job, int part);

enum { POOL_MOST = 64 };    /* parts of a job */

static void pool_alone(PoolWork work, void *job, int parts) {
    int part;
    for (part = 0; part < parts; part++)
        work(job, part);
}

#if defined(__GNUC__) && (defined(__unix__) || defined(__APPLE__))

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* Looks at a variable before a thread goes to sleep: some ten microseconds, the time that waking it takes. */
enum { POOL_LOOKS = 1000 };

static struct {
    int owner;              /* the process of the thread that uses the pool; 0 if nobody does */
    int process;            /* the process that the threads belong to: after a fork, there are none */
    int threads;
    pthread_mutex_t lock;
    pthread_cond_t published, finished;
    npy_uint64 ticket;      /* number of the job << 32 | its parts << 16 | parts taken */
    int sleepers;
    int left;               /* parts that are not done */
    int flags;              /* floating-point flags that they raised */
    PoolWork work;
    void *job;
    fenv_t environment;     /* rounding and the like of who asked */
} pool;

static inline void pool_pause(void) {
#if defined(__i386__) || defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline int pool_has_parts(npy_uint64 ticket) {
    return (ticket & 0xFFFF) < (ticket >> 16 & 0xFFFF);
}

/* The number of a part that is the caller's from now on, or -1. Until that part is done the job is not over,
   so all that belongs to the job may be read without further care. */
static int pool_take(void) {
    npy_uint64 ticket = __atomic_load_n(&pool.ticket, __ATOMIC_ACQUIRE);
    while (pool_has_parts(ticket))
        if (__atomic_compare_exchange_n(&pool.ticket, &ticket, ticket + 1, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return (int)(ticket & 0xFFFF);
    return -1;
}

static void pool_await_parts(void) {
    int looks;
    for (looks = 0; looks < POOL_LOOKS; looks++) {
        if (pool_has_parts(__atomic_load_n(&pool.ticket, __ATOMIC_ACQUIRE)))
            return;
        pool_pause();
    }
    pthread_mutex_lock(&pool.lock);
    /* Before the ticket is read again: who publishes one reads the number of sleepers after. */
    __atomic_add_fetch(&pool.sleepers, 1, __ATOMIC_SEQ_CST);
    while (!pool_has_parts(__atomic_load_n(&pool.ticket, __ATOMIC_SEQ_CST)))
        pthread_cond_wait(&pool.published, &pool.lock);
    __atomic_sub_fetch(&pool.sleepers, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool.lock);
}

static void *pool_thread(void *unused) {
    int part;
    for (;;) {
        part = pool_take();
        if (part < 0) {
            pool_await_parts();
            continue;
        }
        fesetenv(&pool.environment);
        fp_clear();
        pool.work(pool.job, part);
        __atomic_or_fetch(&pool.flags, fp_flags(), __ATOMIC_RELAXED);
        if (__atomic_sub_fetch(&pool.left, 1, __ATOMIC_ACQ_REL) == 0) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_signal(&pool.finished);
            pthread_mutex_unlock(&pool.lock);
        }
    }
    return unused;
}

/* Takes the pool for this thread. A thread of the parent may have held it when this process was forked. */
static int pool_acquire(void) {
    int me = (int)getpid(), owner = 0;
    while (!__atomic_compare_exchange_n(&pool.owner, &owner, me, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        if (owner == me)
            return 0;
    if (pool.process != me) {
        pthread_mutex_init(&pool.lock, NULL);
        pthread_cond_init(&pool.published, NULL);
        pthread_cond_init(&pool.finished, NULL);
        pool.process = me;
        pool.threads = pool.sleepers = 0;
        pool.ticket = 0;
    }
    return 1;
}

/* Threads take no signals, which are Python's to handle, and end with the process. */
static void pool_grow(int threads) {
    pthread_t thread;
    sigset_t all, usual;
    if (pool.threads >= threads)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &usual);
    while (pool.threads < threads && pthread_create(&thread, NULL, pool_thread, NULL) == 0) {
        pthread_detach(thread);
        pool.threads++;
    }
    pthread_sigmask(SIG_SETMASK, &usual, NULL);
}

/* All parts but the first, which the caller takes, may be taken from now on. */
static void pool_publish(PoolWork work, void *job, int parts) {
    npy_uint64 number = (__atomic_load_n(&pool.ticket, __ATOMIC_RELAXED) >> 32) + 1;
    int wanted = parts - 1;
    pool.work = work;
    pool.job = job;
    pool.flags = 0;
    pool.left = parts;
    fegetenv(&pool.environment);
    __atomic_store_n(&pool.ticket, number << 32 | (npy_uint64)parts << 16 | 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool.sleepers, __ATOMIC_SEQ_CST) == 0)
        return;
    pthread_mutex_lock(&pool.lock);
    for (; wanted > 0; wanted--)
        pthread_cond_signal(&pool.published);
    pthread_mutex_unlock(&pool.lock);
}

static void pool_await_end(void) {
    int looks;
    for (looks = 0; looks < POOL_LOOKS; looks++) {
        if (__atomic_load_n(&pool.left, __ATOMIC_ACQUIRE) == 0)
            return;
        pool_pause();
    }
    pthread_mutex_lock(&pool.lock);
    while (__atomic_load_n(&pool.left, __ATOMIC_ACQUIRE) != 0)
        pthread_cond_wait(&pool.finished, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

/* Does parts 0 to `parts` - 1 of a job, `parts` <= POOL_MOST, and returns when all are done. */
static void pool_run(PoolWork work, void *job, int parts) {
    int part = 0;
    if (parts < 2 || !pool_acquire()) {
        pool_alone(work, job, parts);
        return;
    }
    pool_grow(parts - 1);
    pool_publish(work, job, parts);
    for (; part >= 0; part = pool_take()) {
        work(job, part);
        __atomic_sub_fetch(&pool.left, 1, __ATOMIC_ACQ_REL);
    }
    pool_await_end();
    fp_raise(pool.flags);
    __atomic_store_n(&pool.owner, 0, __ATOMIC_RELEASE);
}

#else

static void pool_run(PoolWork work, void *job, int parts) {
    pool_alone(work, job, parts);
}

#endif
#endif

/* Gray and Scott's reaction as one writes it in C: levels of two fields of n^2 floats, on a torus. */
#define CELL(w, x, e)                                                                                    \
    do {                                                                                                 \
        const float cu = u[x], cv = v[x], reacts = cu * cv * cv;                                         \
        const float lap_u = (un[x] + us[x]) + (u[w] + u[e]) - 4.0f * cu;                                 \
        const float lap_v = (vn[x] + vs[x]) + (v[w] + v[e]) - 4.0f * cv;                                 \
        next_u[x] = cu + dt * (du * lap_u - reacts + feed * (1.0f - cu));                                \
        next_v[x] = cv + dt * (dv * lap_v + reacts - (feed + kill) * cv);                                \
    } while (0)

void steps(float *a, float *b, long n, long count, float feed, float kill, float du, float dv, float dt)
{
#pragma omp parallel
    {
        float *now = a, *next = b;
        for (long step = 0; step < count; step++) {
#pragma omp for schedule(static)
            for (long y = 0; y < n; y++) {
                const long north = (y > 0 ? y - 1 : n - 1) * n, south = (y < n - 1 ? y + 1 : 0) * n;
                const float *u = now + y * n, *un = now + north, *us = now + south;
                const float *v = u + n * n, *vn = un + n * n, *vs = us + n * n;
                float *next_u = next + y * n, *next_v = next_u + n * n;
                CELL(n - 1, 0, 1);
#pragma omp simd
                for (long x = 1; x < n - 1; x++) CELL(x - 1, x, x + 1);
                CELL(n - 2, n - 1, 0);
            } /* all threads wait here for each other */
            float *other = now;
            now = next;
            next = other;
        }
    }
}

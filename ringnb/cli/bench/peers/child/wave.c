/* A wave in a box as one writes it in C: levels of (n + 2)^2 floats, the border of zeros being the walls. */
void steps(float *a, float *b, long n, long count, float courant2, float damping)
{
    const long w = n + 2;
    const float d = 0.5f * damping, scale = 1.0f / (1.0f + d);
#pragma omp parallel
    {
        float *now = a, *next = b;
        for (long step = 0; step < count; step++) {
#pragma omp for schedule(static)
            for (long y = 1; y <= n; y++) {
                const float *restrict u = now + y * w;
                float *restrict v = next + y * w;
                for (long x = 1; x <= n; x++) {
                    const float lap = (u[x - w] + u[x + w]) + (u[x - 1] + u[x + 1]) - 4.0f * u[x];
                    v[x] = scale * (2.0f * u[x] - (1.0f - d) * v[x] + courant2 * lap);
                }
            } /* all threads wait here for each other */
            float *other = now;
            now = next;
            next = other;
        }
    }
}

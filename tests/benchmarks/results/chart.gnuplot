set terminal svg size 900,780 font 'sans-serif,13' background rgb 'white'
set output 'chart.svg'
set title 'Time over the limit that memory sets (f32, 2 threads)'
set xlabel 'multiple of the limit; shorter is better' offset 0,0.6
set rmargin 12
set key below center horizontal samplen 2
set logscale x 2
set xrange [0.5:*]
set yrange [21:-1]
set grid xtics lc rgb '#d0d0d0' lt 1
set border 2
set tics nomirror scale 0
set style fill solid noborder
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'
set ytics ('infer  nchw 32x256x56x56' 0, 'infer  nchw 32x2048x7x7' 1, 'infer  nhwc 32x512x28x28' 2, 'infer  nhwc 1x64x112x112' 3, 'infer  nc 64x512' 4, 'infer  nc 1024x1024' 5, 'infer  nc 16384x512' 6, 'train  nchw 32x256x56x56' 7, 'train  nchw 32x2048x7x7' 8, 'train  nhwc 32x512x28x28' 9, 'train  nhwc 1x64x112x112' 10, 'train  nc 64x512' 11, 'train  nc 1024x1024' 12, 'train  nc 16384x512' 13, 'backward  nchw 32x256x56x56' 14, 'backward  nchw 32x2048x7x7' 15, 'backward  nhwc 32x512x28x28' 16, 'backward  nhwc 1x64x112x112' 17, 'backward  nc 64x512' 18, 'backward  nc 1024x1024' 19, 'backward  nc 16384x512' 20)
$rows << end_of_rows
0 0.941156 1.60892 "0.94" "1.61 libtorch"
1 1.3074 3.17581 "1.31" "3.18 libtorch"
2 1.03531 1.60565 "1.04" "1.61 oneDNN"
3 1.65236 2.29036 "1.65" "2.29 libtorch"
4 1.204 3.69376 "1.20" "3.69 oneDNN*"
5 1.35548 1.77918 "1.36" "1.78 libtorch"
6 1.02354 1.67498 "1.02" "1.67 oneDNN*"
7 1.01631 4.90141 "1.02" "4.90 libtorch"
8 3.27783 10.5809 "3.28" "10.58 libtorch"
9 1.0327 1.57544 "1.03" "1.58 oneDNN"
10 1.50215 2.45836 "1.50" "2.46 oneDNN"
11 4.28314 4.69185 "4.28" "4.69 oneDNN*"
12 1.5273 2.43321 "1.53" "2.43 oneDNN*"
13 1.09622 1.86138 "1.10" "1.86 oneDNN*"
14 1.33084 2.12668 "1.33" "2.13 libtorch"
15 3.19641 14.5841 "3.20" "14.58 libtorch"
16 1.1279 1.69266 "1.13" "1.69 libtorch"
17 1.44634 2.37008 "1.45" "2.37 oneDNN"
18 4.78796 5.83051 "4.79" "5.83 oneDNN*"
19 1.7035 2.12109 "1.70" "2.12 oneDNN*"
20 1.18701 1.78309 "1.19" "1.78 libtorch"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle

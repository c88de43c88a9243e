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
0 0.905007 1.28617 "0.91" "1.29 libtorch"
1 1.58111 2.99733 "1.58" "3.00 libtorch"
2 1.05093 1.28737 "1.05" "1.29 oneDNN"
3 1.18654 3.04952 "1.19" "3.05 libtorch"
4 1.16611 3.16785 "1.17" "3.17 oneDNN*"
5 1.21112 3.46132 "1.21" "3.46 oneDNN*"
6 0.990065 1.23694 "0.99" "1.24 oneDNN*"
7 1.30445 6.46863 "1.30" "6.47 libtorch"
8 3.52409 14.4447 "3.52" "14.44 libtorch"
9 1.09591 1.64487 "1.10" "1.64 libtorch"
10 1.49362 2.83167 "1.49" "2.83 oneDNN"
11 4.35024 4.23421 "4.35" "4.23 oneDNN*"
12 2.31327 2.81704 "2.31" "2.82 libtorch"
13 1.10335 1.68571 "1.10" "1.69 libtorch"
14 1.25122 1.61979 "1.25" "1.62 libtorch"
15 2.29763 5.73643 "2.30" "5.74 libtorch"
16 1.26604 1.37202 "1.27" "1.37 libtorch"
17 1.26172 2.34869 "1.26" "2.35 libtorch"
18 4.60578 4.71417 "4.61" "4.71 oneDNN*"
19 2.35972 2.59162 "2.36" "2.59 libtorch"
20 1.97935 1.90457 "1.98" "1.90 libtorch"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
